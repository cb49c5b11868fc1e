"""The fixed text of the table, as a reviewer reads it."""

from pathlib import Path

from netdrivers.kernel.nfcodec import LAYOUT
from netdrivers.plan.ruleset import CHAINS, MAPS, OPERATOR_CHAINS, SETS, build_ruleset

GOLDEN = Path(__file__).parents[3] / "golden" / "ruleset.nft"


def test_golden_ruleset():
    assert build_ruleset("nodeagent") == GOLDEN.read_text(encoding="utf-8")


def test_the_operators_chains_are_added_and_never_flushed():
    text = build_ruleset("t")
    for name in OPERATOR_CHAINS:
        assert f"add chain inet t {name}\n" in text
        assert f"flush chain inet t {name}" not in text
        assert f"jump {name}" in text


def test_every_set_that_rules_use_is_made_and_can_be_packed():
    made = {name for name, _ in (*SETS, *MAPS)}
    rules = " ".join(rule for _, _, rules in CHAINS for rule in rules)
    used = {word[1:] for word in rules.split() if word.startswith("@")}
    assert used == made == set(LAYOUT)

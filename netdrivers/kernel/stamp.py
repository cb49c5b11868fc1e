"""The text of our nft table: a name for its rules, and whether the operator has any in it."""

from hashlib import sha256

from netdrivers.plan.ruleset import OPERATOR_CHAINS, build_ruleset


def build_stamp(text: str) -> str:
    """A name that changes with any rule of ours, but not with the operator's.

    Also with what this version would write: a table of another version is not whole.
    """
    kept, chain = [build_ruleset("")], ""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["chain"]:
            chain = words[1]
        if words and chain not in OPERATOR_CHAINS and not chain.startswith("stamp-"):
            kept.append(" ".join(words))
        if words == ["}"]:
            chain = ""
    return "stamp-" + sha256("\n".join(kept).encode()).hexdigest()[:16]


def operator_rules(text: str) -> bool:
    """Whether the operator has put a rule into one of the two chains."""
    chain = ""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["chain"]:
            chain = words[1]
        elif chain in OPERATOR_CHAINS and words and words != ["}"]:
            return True
    return False

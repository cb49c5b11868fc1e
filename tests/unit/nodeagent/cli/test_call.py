import pytest

from nodeagent.cli.call import CommandFailed, parse_filters, parse_pairs, pick
from nodeagent.cli.grammar import UsageError
from tests.fakes.agent import Failure


def test_pairs():
    assert parse_pairs(["a=b", "c", "d=e=f", "a=z"], "label") == {"a": "z", "c": "", "d": "e=f"}
    with pytest.raises(UsageError, match=r"^--label: '=x'"):
        parse_pairs(["=x"], "label")


def test_filters_of_one_key_add_up():
    assert parse_filters(["label=a=b", "Label=c"]) == {"label": ["a=b", "c"]}


@pytest.mark.parametrize("words", ["", "x", "=x"])
def test_bad_filters(words):
    with pytest.raises(UsageError, match=r"^--filter: "):
        parse_filters([words])


def test_an_answer_of_another_shape_is_told():
    assert pick({"ops": []}, "ops", list) == []
    for answer in ({"ops": 1}, {}, None, []):
        with pytest.raises(CommandFailed, match=r"agent's answer lacks"):
            pick(answer, "ops", list)


def test_what_an_agent_that_is_being_replaced_did_not_begin_is_asked_again(agent_of, cli):
    tries = []

    def ping(_call):
        tries.append(1)
        if len(tries) == 1:
            raise Failure("unavailable", "the agent is being replaced", begun=False)
        return {}

    assert cli(agent_of({"system.ping": ping}), "system", "ping").code == 0
    assert len(tries) == 2


def test_what_it_began_is_not(agent_of, cli):
    tries = []

    def ping(_call):
        tries.append(1)
        raise Failure("unavailable", "the agent is being replaced, connect again")

    assert cli(agent_of({"system.ping": ping}), "system", "ping").code != 0
    assert len(tries) == 1

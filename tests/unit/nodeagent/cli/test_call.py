import pytest

from nodeagent.cli.call import CommandFailed, parse_filters, parse_pairs, pick
from nodeagent.cli.grammar import UsageError


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

"""What takes a step back."""

from netdrivers.plan.objects import Element, Table
from netdrivers.plan.ops import Op

OLD = Element(set="publish4any", match=("tcp", 1), value=(), owner="a")
NEW = Element(set="publish4any", match=("tcp", 1), value=(), owner="b")


def test_undo():
    assert Op(verb="add", obj=NEW).undo == Op(verb="delete", obj=NEW)
    assert Op(verb="change", obj=NEW, was=OLD).undo == Op(verb="change", obj=OLD, was=NEW)
    assert Op(verb="delete", obj=OLD).undo is None


def test_what_all_share_is_not_taken_back():
    assert Op(verb="add", obj=Table()).undo is None

"""Every published method has a handler, and no handler is without a method."""

from nodeagent.rpc.bindings import Bindings
from nodeagent.rpc.schema import METHODS


def test_all_methods_are_bound():
    names = {name.replace(".", "_") for name in METHODS if name != "rpc.describe"}
    handlers = {
        name
        for name, each in vars(Bindings).items()
        if callable(each) and not name.startswith("_") and name != "table"
    }
    assert handlers == names

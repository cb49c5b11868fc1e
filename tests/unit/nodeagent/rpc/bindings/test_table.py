"""Every published method has one handler, and no handler is without a method.

Covers nodeagent/rpc/bindings/container.py nodeagent/rpc/bindings/image.py
nodeagent/rpc/bindings/network.py nodeagent/rpc/bindings/system.py nodeagent/rpc/bindings/volume.py.
"""

from nodeagent.rpc.bindings.table import NOUNS
from nodeagent.rpc.schema.table import METHODS


def test_all_methods_are_bound_once():
    names = sorted(name.replace(".", "_") for name in METHODS if name != "rpc.describe")
    handlers = sorted(name for noun in NOUNS for name in vars(noun) if not name.startswith("_"))
    assert handlers == names

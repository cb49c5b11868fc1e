from importlib.metadata import EntryPoint

import pytest

from voldrivers.errors import Conflict, Unavailable
from voldrivers.local import Local
from voldrivers.registry import GROUP, build_drivers, load_drivers


def plugin(name, value):
    return EntryPoint(name=name, value=value, group=GROUP)


def test_ours_are_there(tmp_path):
    assert isinstance(load_drivers(tmp_path)["local"], Local)


def test_a_plugin_is_added(tmp_path):
    drivers = build_drivers(tmp_path, [plugin("other", "voldrivers.local:Local")])
    assert sorted(drivers) == ["local", "other"]


def test_a_plugin_cannot_take_our_name(tmp_path):
    with pytest.raises(Conflict, match="local"):
        build_drivers(tmp_path, [plugin("local", "voldrivers.local:Local")])


@pytest.mark.parametrize("value", ["no_such_module:X", "voldrivers.local:NoSuchThing"])
def test_a_broken_plugin_is_named(tmp_path, value):
    with pytest.raises(Unavailable, match="broken"):
        build_drivers(tmp_path, [plugin("broken", value)])

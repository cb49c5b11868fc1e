import socket
from importlib.metadata import EntryPoint

import pytest

from voldrivers.contract import VolumeSpec
from voldrivers.registry import DRIVERS, GROUP, build_drivers, load_drivers


def plugin(name, value):
    return EntryPoint(name=name, value=value, group=GROUP)


def test_ours_are_there(tmp_path):
    drivers = build_drivers(tmp_path, [])
    assert set(DRIVERS) == {"local", "image", "btrfs", "tmpfs", "nfs", "fuse"}
    assert all(drivers[name].name == name for name in DRIVERS)


def test_dockers_plugins_come_and_go(tmp_path):
    drivers = load_drivers(tmp_path, [tmp_path / "plugins"])
    assert drivers.find("mine") is None
    assert drivers.find("image") is drivers.of("image")
    lost = drivers.of("mine")  # of a volume that exists
    assert drivers.find("mine") is None
    (tmp_path / "plugins").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "plugins/mine.sock"))
        assert drivers.find("mine") is lost
    assert lost in drivers.all()


def test_an_entry_point_is_added(tmp_path):
    drivers = build_drivers(tmp_path, [plugin("other", "voldrivers.local:Local")])
    assert set(drivers) == {*DRIVERS, "other"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("local", "voldrivers.tmpfs:Tmpfs"),
        ("broken", "no_such_module:X"),
        ("broken", "voldrivers.local:NoSuchThing"),
        ("broken", "os:abort_is_not_called"),
        ("broken", "voldrivers.errors:Busy"),
    ],
)
def test_a_broken_plugin_is_told_and_costs_nothing_else(tmp_path, name, value, caplog):
    drivers = build_drivers(tmp_path, [plugin(name, value)])
    assert set(drivers) - {"broken"} == set(DRIVERS)
    if "broken" not in drivers:
        assert drivers["local"].abilities(VolumeSpec(name="v"))  # ours, not the plugin's
        assert name in {record.driver for record in caplog.records}

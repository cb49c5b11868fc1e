"""Only names of the network are read or written."""

import pytest

from netdrivers.errors import Invalid, Refused
from netdrivers.kernel.sysctl import read_sysctl, set_sysctl


@pytest.mark.parametrize("name", ["kernel.panic", "net/../kernel", "net...kernel", "vm.x", ""])
def test_others_are_refused(name):
    with pytest.raises(Invalid):
        read_sysctl(name)
    with pytest.raises(Invalid):
        set_sysctl(name, "1")


def test_unknown_names():
    assert read_sysctl("net.ipv4.no_such_thing") is None
    with pytest.raises(Refused, match="no_such_thing"):
        set_sysctl("net.ipv4.no_such_thing", "1")


def test_values_have_single_spaces():
    assert len(read_sysctl("net.ipv4.ip_local_port_range").split(" ")) == 2

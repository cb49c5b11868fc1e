"""The name of a link is known before it is there."""

from netdrivers.kernel.snapshot import veth_name


def test_the_name_of_a_host_end_fits():
    assert veth_name("f" * 64) == "ve" + "f" * 13

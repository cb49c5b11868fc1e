import os

from runtime.container.host import read_host, read_layout


def test_this_host_is_read():
    host = read_host(read_layout())
    assert host.machine == os.uname().machine
    assert host.can_raise == ("CAP_SYS_RESOURCE" in host.capabilities)
    assert host.limits["nofile"] > 0

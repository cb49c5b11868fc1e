"""Going into a namespace and coming home."""

import socket
import subprocess
import uuid
from pathlib import Path

import pytest

from netdrivers.dns.namespace import make_socket

HERE = Path("/proc/thread-self/ns/net")


@pytest.fixture
def netns():
    name = f"dnsn{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield Path("/run/netns") / name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_the_socket_stays_there_and_we_do_not(netns):
    home = HERE.readlink()
    with make_socket(netns, socket.AF_INET, socket.SOCK_DGRAM) as made:
        assert HERE.readlink() == home
        # the fresh namespace's loopback is down: only there is this unreachable
        with pytest.raises(OSError, match="unreachable"):
            made.connect(("127.0.0.1", 9))
    with make_socket(None, socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.connect(("127.0.0.1", 9))


@pytest.mark.parametrize("path", ["/run/netns/no-such-one", "/proc/self/ns/mnt", "/dev/null"])
def test_a_failed_visit_leaves_us_at_home(path):
    home = HERE.readlink()
    with pytest.raises(OSError, match=r"No such file|Invalid argument"):
        make_socket(Path(path), socket.AF_INET, socket.SOCK_DGRAM)
    assert HERE.readlink() == home

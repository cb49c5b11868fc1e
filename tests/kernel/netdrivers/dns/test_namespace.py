"""Going into a namespace and coming home."""

import socket
import subprocess
from pathlib import Path

import pytest

from netdrivers.dns.namespace import bind_pair, index_of, make_socket
from netdrivers.errors import Missing, Refused

HERE = Path("/proc/thread-self/ns/net")


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_socket_stays_there_and_we_do_not(bare_netns):
    home = HERE.readlink()
    with make_socket(bare_netns, socket.AF_INET, socket.SOCK_DGRAM) as made:
        assert HERE.readlink() == home
        # the fresh namespace's loopback is down: only there is this unreachable
        with pytest.raises(OSError, match="unreachable"):
            made.connect(("127.0.0.1", 9))
    with make_socket(None, socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.connect(("127.0.0.1", 9))


@pytest.mark.parametrize(
    ("path", "error"),
    [("/run/netns/no-such-one", OSError), ("/proc/self/ns/mnt", Refused), ("/dev/null", Refused)],
)
def test_a_failed_visit_leaves_us_at_home_and_nothing_open(path, error):
    home, open_before = HERE.readlink(), descriptors()
    with pytest.raises(error, match=r"No such file|Invalid argument"):
        make_socket(Path(path), socket.AF_INET, socket.SOCK_DGRAM)
    assert HERE.readlink() == home
    assert descriptors() == open_before


def test_a_link_is_looked_up_there(netns):
    subprocess.run(["ip", "-n", netns.name, "link", "add", "only0", "type", "bridge"], check=True)
    shown = subprocess.run(
        ["ip", "-n", netns.name, "-o", "link", "show", "only0"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert index_of(netns, "only0") == int(shown.stdout.split(":")[0])
    for where, link in ((None, "only0"), (netns, "only1")):
        with pytest.raises(OSError, match=r"no interface|No such device"):
            index_of(where, link)


def test_a_pair_shares_the_port_and_moves_away_from_a_taken_one(netns):
    udp, tcp = bind_pair(netns, 0)
    with udp, tcp:
        port = udp.getsockname()[1]
        assert (udp.getsockname(), tcp.getsockname()) == (("127.0.0.11", port),) * 2
        others = bind_pair(netns, port)
        with others[0], others[1]:
            assert others[0].getsockname()[1] != port


@pytest.mark.parametrize(
    ("path", "error"), [("/run/netns/no-such-one", Missing), ("/dev/null", Refused)]
)
def test_a_pair_that_cannot_be_leaves_nothing_open(path, error):
    open_before = descriptors()
    with pytest.raises(error):
        bind_pair(Path(path), 0)
    assert descriptors() == open_before

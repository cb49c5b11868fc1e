"""Descriptors by name: what is believed, what is handed on, what is closed."""

import os
import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdrivers.keep import (
    NAME_MAX_CHARS,
    Keep,
    Wanted,
    close_all,
    dns_name,
    netns_cookie,
    port_name,
)

IDS = st.text("0123456789abcdef", min_size=64, max_size=64)
ADDRESSES = st.one_of(
    st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address)
)
PORTS = st.tuples(st.sampled_from(["tcp", "udp", "sctp"]), ADDRESSES, st.integers(1, 65535))


@given(st.sampled_from(["udp", "tcp"]), IDS)
def test_names_of_name_servers_suit_systemd(protocol, id_):
    assert is_fit(dns_name(protocol, id_))


@given(PORTS, PORTS)
def test_names_of_ports_suit_systemd_and_differ_as_the_ports_do(one, other):
    assert is_fit(port_name(*one))
    assert (port_name(*one) == port_name(*other)) == (one == other)


def is_fit(name: str) -> bool:
    return len(name) <= NAME_MAX_CHARS and name.isascii() and name.isprintable() and ":" not in name


def bound(kind=socket.SOCK_DGRAM, *, listens=False):
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind(("127.0.0.1", 0))
    if listens:
        sock.listen()
    return sock


def wanted(sock, **changes):
    return Wanted(
        **{"type": sock.type, "address": sock.getsockname(), "cookie": netns_cookie(sock)} | changes
    )


def test_a_socket_that_is_as_wanted_is_taken_once():
    sock = bound()
    keep = Keep({"a": os.dup(sock.fileno())})
    taken = keep.take("a", wanted(sock))
    assert taken is not None
    assert taken.getsockname() == sock.getsockname()
    assert not taken.getblocking()
    assert not os.get_inheritable(taken.fileno())
    assert keep.take("a", wanted(sock)) is None
    taken.close()
    sock.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"type": socket.SOCK_STREAM},
        {"address": ("127.0.0.1", 1)},
        {"address": ("127.0.0.2", 0)},
        {"address": "/run/x.sock"},
        {"cookie": 1},
        {"cookie": 0},
        {"listens": True},
    ],
)
def test_any_other_is_closed_and_whoever_stores_it_is_told(changes):
    dropped = []
    with bound() as sock:
        fd = os.dup(sock.fileno())
        keep = Keep({"a": fd}, on_drop=dropped.append)
        assert keep.take("a", wanted(sock, **changes)) is None
        assert dropped == ["a"]
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_the_port_may_be_any_and_the_namespace_may_not_matter():
    with bound(socket.SOCK_STREAM, listens=True) as sock:
        keep = Keep({"a": os.dup(sock.fileno())})
        taken = keep.take(
            "a", Wanted(type=socket.SOCK_STREAM, address=("127.0.0.1", 0), listens=True)
        )
        assert taken is not None
        taken.close()


def test_what_is_no_socket_is_closed():
    fd = os.open("/dev/null", os.O_RDONLY)
    keep = Keep({"a": fd})
    assert keep.take("a", Wanted(type=socket.SOCK_DGRAM, address=("127.0.0.1", 0))) is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_copies_are_of_what_is_open_now():
    told = []
    with bound() as one, bound() as two:
        keep = Keep(on_put=lambda name, _fd: told.append(f"+{name}"),
                    on_drop=lambda name: told.append(f"-{name}"))  # fmt: skip
        keep.put("one", one.fileno())
        keep.put("two", two.fileno())
        keep.drop("two")
        keep.drop("two")
        copies = keep.copies()
        assert (list(copies), keep.count()) == (["one"], 1)
        assert os.path.sameopenfile(copies["one"], one.fileno())
        close_all(copies)
    assert told == ["+one", "+two", "-two"]


def descriptors():
    return sorted(each.name for each in Path("/proc/self/fd").iterdir())


def test_a_copy_that_fails_leaves_no_copy_open():
    with bound() as one:
        keep = Keep()
        keep.put("one", one.fileno())
        keep.put("bad", 1 << 20)
        before = descriptors()
        with pytest.raises(OSError, match="Bad file descriptor"):
            keep.copies()
        assert descriptors() == before


def test_what_nobody_took_is_closed_and_named():
    dropped = []
    fds = {name: os.open("/dev/null", os.O_RDONLY) for name in "cab"}
    keep = Keep(fds, on_drop=dropped.append)
    assert keep.take_fd("a") == fds["a"]
    assert keep.close_untaken() == ["b", "c"] == dropped
    assert keep.close_untaken() == []
    os.close(fds["a"])
    for name in "bc":
        with suppress(OSError):
            os.fstat(fds[name])
            pytest.fail(f"{name} is open")


def test_addresses_of_both_families_read_well():
    assert port_name("tcp", ip_address("127.0.0.1"), 80) == "port/tcp/80/127.0.0.1"
    assert port_name("udp", ip_address("fd00::1"), 53) == "port/udp/53/fd00__1"

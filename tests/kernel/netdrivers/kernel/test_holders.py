"""Who has a port: a process by pid and command, also from another namespace's thread."""

import os
import socket
import subprocess
import sys
from ipaddress import ip_address

import pytest

from netdrivers.kernel.holders import Found, clashes, find_holder, read_clash

SERVER = """
import socket
server = socket.create_server(("127.0.0.1", 8080))
print(flush=True)
server.accept()
"""


@pytest.fixture
def server(host):
    child = subprocess.Popen(
        host.command(sys.executable, "-c", SERVER), stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    with child:
        assert child.stdout.readline()
        yield child
        child.kill()


def test_a_process_is_named_by_pid_and_command(host, server):
    with host.inside(host.outside):
        clash = read_clash(host.inside(host.home), "tcp", ip_address("0.0.0.0"), 8080)
    assert clash.holder.pid == server.pid
    assert "create_server" in clash.holder.command
    assert not clash.leftovers


def test_a_socket_bound_to_another_port_is_not_named(host, server):
    with host.inside(host.home), socket.socket() as other:
        other.bind(("127.0.0.1", 8081))
        clashes_at = {
            port: read_clash(host.inside(host.home), "tcp", ip_address("127.0.0.1"), port).holder
            for port in (8080, 8081, 8082)
        }
    assert {port: holder and holder.pid for port, holder in clashes_at.items()} == {
        8080: server.pid, 8081: os.getpid(), 8082: None,
    }  # fmt: skip


def test_nobody_is_named_where_nobody_is(host, server):
    for where, port in ((host.outside, 8080), (host.home, 8081)):
        clash = read_clash(host.inside(where), "tcp", ip_address("0.0.0.0"), port)
        assert clash.holder is None
        assert not clash.leftovers


@pytest.mark.parametrize(
    ("theirs", "v6only", "wanted", "is_clash"),
    [
        ("0.0.0.0", False, "127.0.0.1", True),
        ("127.0.0.1", False, "0.0.0.0", True),
        ("127.0.0.1", False, "127.0.0.2", False),
        ("::", False, "127.0.0.1", True),
        ("::", True, "127.0.0.1", False),
        ("::1", False, "0.0.0.0", False),
        ("::ffff:127.0.0.1", False, "127.0.0.1", True),
        ("0.0.0.0", False, "::", False),
        ("::", True, "::1", True),
    ],
)
def test_which_addresses_clash(theirs, v6only, wanted, is_clash):
    sock = Found(ip=ip_address(theirs), port=80, state=10, inode=1, v6only=v6only)
    assert clashes(sock, ip_address(wanted)) is is_clash


def test_a_process_that_ended_meanwhile_is_passed_over(tmp_path):
    (tmp_path / "12").mkdir()
    (tmp_path / "13" / "fd").mkdir(parents=True)
    (tmp_path / "13" / "fd" / "4").symlink_to("socket:[77]")
    (tmp_path / "13" / "cmdline").write_bytes(b"")
    (tmp_path / "13" / "comm").write_text("kworker\n")
    found = find_holder([Found(ip=ip_address("::"), port=80, state=10, inode=77)], tmp_path)
    assert (found.pid, found.command) == (13, "kworker")
    assert find_holder([Found(ip=ip_address("::"), port=80, state=6, inode=0)], tmp_path) is None


def test_a_hostile_command_line_is_cut_and_cleaned(tmp_path):
    (tmp_path / "9" / "fd").mkdir(parents=True)
    (tmp_path / "9" / "fd" / "0").symlink_to("socket:[5]")
    (tmp_path / "9" / "cmdline").write_bytes(b"a\x1b[31m\nb\0" + b"c" * 9000)
    found = find_holder([Found(ip=ip_address("::"), port=80, state=10, inode=5)], tmp_path)
    assert found.command.startswith("a?[31m?b ccc")
    assert len(found.command) <= 160


def test_udp_has_holders_too(host):
    with host.inside(host.home), socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 5353))
        clash = read_clash(host.inside(host.home), "udp", ip_address("127.0.0.1"), 5353)
    assert clash.holder.pid == os.getpid()

"""What is given to systemd's store, what is taken back from it, and what is passed at the start."""

import os
import socket
import subprocess
import sys

import pytest
import trio

from netdrivers.keep import NAME_MAX_CHARS
from nodeagent.takeover.fdstore import STORE_MAX, FdStore, is_systemds, take_listen_fds
from tests.fakes.systemd import Systemd

WITHIN_S = 5.0
STRING_MAX_BYTES = 128 << 10  # MAX_ARG_STRLEN, with "LISTEN_FDNAMES=" and the last zero


@pytest.fixture
def systemd(tmp_path):
    made = Systemd(tmp_path / "notify", store_max=4)
    yield made
    made.close()


@pytest.fixture
def environ(systemd):
    return {
        "NOTIFY_SOCKET": str(systemd.path),
        "FDSTORE": "4",
        "SYSTEMD_EXEC_PID": str(os.getpid()),
    }


@pytest.fixture
def sock():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        yield made


async def wait_names(systemd, *names):
    await trio.to_thread.run_sync(systemd.wait_names, names, WITHIN_S)


async def test_a_socket_that_holds_a_port_stays_stored_though_it_looks_hung_up(
    systemd, environ, sock, nursery
):
    store = FdStore(environ)
    nursery.start_soon(store.run)
    store.put("port/tcp/80/127.0.0.1", sock.fileno())
    store.put("dns-udp/ab", sock.fileno())  # the same open file: systemd has it already
    await wait_names(systemd, "port/tcp/80/127.0.0.1")
    store.drop("port/tcp/80/127.0.0.1")
    await wait_names(systemd)


async def test_only_what_is_to_be_stored_is_and_each_once(systemd, environ, sock, nursery):
    store = FdStore(environ, stored=["dns-udp/old"])
    nursery.start_soon(store.run)
    with socket.socket() as other:
        store.put("rpc", sock.fileno())
        store.put("lock/0", sock.fileno())
        store.put("dns-udp/old", sock.fileno())
        store.put("dns-tcp/new", other.fileno())
        await wait_names(systemd, "dns-tcp/new")
        store.drop("rpc")
        store.drop("never")
    assert "FDSTOREREMOVE=1" not in systemd.said


async def test_beyond_its_room_nothing_is_stored_and_that_is_said(
    systemd, environ, nursery, caplog
):
    store = FdStore(environ)
    nursery.start_soon(store.run)
    socks = [socket.socket() for _ in range(6)]
    for number, each in enumerate(socks):
        store.put(f"port/tcp/{number}/::1".replace(":", "_"), each.fileno())
    await wait_names(systemd, *(f"port/tcp/{n}/__1" for n in range(4)))
    assert [r.message for r in caplog.records] == ["systemd's descriptor store is full"]
    store.drop("port/tcp/0/__1")
    store.put("port/tcp/5/__1", socks[5].fileno())
    await wait_names(systemd, *(f"port/tcp/{n}/__1" for n in (1, 2, 3, 5)))
    for each in socks:
        each.close()


async def test_without_systemd_nothing_happens(sock, tmp_path, nursery):
    for environ in ({}, {"NOTIFY_SOCKET": str(tmp_path / "x"), "SYSTEMD_EXEC_PID": "1"}):
        store = FdStore(environ)
        nursery.start_soon(store.run)
        store.put("dns-udp/a", sock.fileno())
        store.drop("dns-udp/a")
        assert not is_systemds(environ)
    await trio.testing.wait_all_tasks_blocked()


async def test_a_manager_that_is_gone_harms_nobody(environ, sock, nursery, tmp_path):
    store = FdStore(environ | {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    nursery.start_soon(store.run)
    store.put("dns-udp/a", sock.fileno())
    await trio.testing.wait_all_tasks_blocked()


def test_what_is_passed_at_the_start_has_its_name_and_is_inherited_no_further(systemd):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.connect(str(systemd.path))
        for name in ("dns-udp/a", "dns-tcp/a"):
            with socket.socket() as made:
                made.bind(("127.0.0.1", 0))
                text = f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0"
                socket.send_fds(service, [text.encode()], [made.fileno()])
    systemd.wait_names(["dns-tcp/a", "dns-udp/a"], WITHIN_S)
    code = (
        "import os; from nodeagent.takeover.fdstore import *; "
        "print(take_listen_fds(os.environ), is_systemds(os.environ), os.get_inheritable(3), "
        "[n for n in os.environ if n.startswith('LISTEN')])"
    )
    argv, environ, fds = systemd.start([sys.executable, "-c", code])
    done = subprocess.run(
        argv, env=os.environ | environ, pass_fds=fds, capture_output=True, text=True, check=True
    )
    assert done.stdout == "{'dns-udp/a': 3, 'dns-tcp/a': 4} True False []\n"


def test_descriptors_that_are_for_another_process_are_not_ours():
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}
    assert take_listen_fds(environ) == {}
    assert environ == {}


def test_all_names_fit_into_one_string_of_the_environment():
    assert STORE_MAX * (NAME_MAX_CHARS + 1) + len("LISTEN_FDNAMES=") + 1 <= STRING_MAX_BYTES

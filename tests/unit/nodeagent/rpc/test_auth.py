"""The socket file: mode, replacement of a dead one, respect for a live one."""

import logging
import os
import socket
import stat

import pytest

from nodeagent.errors import Busy, Conflict, Invalid
from nodeagent.rpc.auth import Peer, open_listener, read_peer, remove_socket

ME = Peer(uid=os.getuid(), gid=os.getgid(), pid=os.getpid())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "nodeagent.sock"


def connect(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    return sock


def test_the_kernel_says_who_connected(path):
    with open_listener(path, group="no-such-group") as listener, connect(path):
        accepted, _ = listener.accept()
        with accepted:
            assert read_peer(accepted) == ME


def test_the_socket_is_for_owner_and_group_only(path, caplog):
    with open_listener(path, group="no-such-group"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_the_group_gets_it(path):
    import grp

    name = grp.getgrgid(os.getgid()).gr_name
    with open_listener(path, group=name):
        assert path.stat().st_gid == os.getgid()


def test_a_dead_agents_socket_is_replaced(path):
    open_listener(path, group="no-such-group").close()
    assert path.exists()
    with open_listener(path, group="no-such-group"), connect(path):
        pass


def test_a_live_agent_is_left_alone(path):
    with open_listener(path, group="no-such-group"):
        with pytest.raises(Busy):
            open_listener(path, group="no-such-group")
        with connect(path):
            assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_a_file_of_another_kind_is_left_alone(path):
    path.write_text("mine")
    with pytest.raises(Conflict):
        open_listener(path, group="no-such-group")
    assert path.read_text() == "mine"


def test_leftovers_of_a_killed_start_are_in_nobodys_way(path):
    (path.parent / "nodeagent.sock.new").write_text("left")
    with open_listener(path, group="no-such-group"):
        assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_a_path_too_long_is_told(tmp_path):
    with pytest.raises(Invalid, match="too long"):
        open_listener(tmp_path / ("x" * 200), group="no-such-group")


def test_the_file_goes_with_its_socket(path):
    listener = open_listener(path, group="no-such-group")
    remove_socket(path, listener)
    assert not path.exists()
    assert listener.fileno() == -1
    remove_socket(path, listener)


def test_the_file_of_a_successor_stays(path):
    listener = open_listener(path, group="no-such-group")
    path.unlink()
    with open_listener(path, group="no-such-group"):
        remove_socket(path, listener)
        assert path.exists()

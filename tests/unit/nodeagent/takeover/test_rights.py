"""The right to be the agent: against another process, and passed on without a gap."""

import fcntl
import socket
import stat

import pytest

from netdrivers.keep import Keep
from nodeagent.errors import Conflict
from nodeagent.takeover import rights
from nodeagent.takeover.rights import SOCKET, open_rights


@pytest.fixture
def places(tmp_path):
    return tmp_path / "lib", tmp_path / "run"


def is_locked(directory):
    with (directory / "lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


async def test_a_second_one_is_refused_and_told_what_to_do(places, monkeypatch):
    monkeypatch.setattr(rights, "DYING_S", 0.05)
    async with open_rights(*places, Keep(), takeover=False):
        for takeover, hint in ((False, "serve --takeover"), (True, "cannot hand over")):
            with pytest.raises(Conflict, match=hint):
                async with open_rights(*places, Keep(), takeover=takeover):
                    pytest.fail("two have it")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asker:
            asker.connect(str(places[1] / SOCKET))
        assert stat.S_IMODE((places[1] / SOCKET).stat().st_mode) == 0o600
    assert not any(is_locked(place) for place in places)
    assert not (places[1] / SOCKET).exists()


async def test_it_is_passed_on_without_letting_go(places):
    keep = Keep()
    async with open_rights(*places, keep, takeover=False) as old:
        old.tell(keep)
        async with open_rights(*places, Keep(keep.copies()), takeover=True) as new:
            old.give_up()
            assert all(is_locked(place) for place in places)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asker:
                asker.connect(str(places[1] / SOCKET))
                new.listener.setblocking(True)
                new.listener.accept()[0].close()
    assert not any(is_locked(place) for place in places)


async def test_the_lock_of_another_file_is_not_believed(places):
    keep = Keep()
    async with open_rights(*places, keep, takeover=False) as old:
        old.tell(keep)
        copies = keep.copies()
    for place in places:
        (place / "lock").unlink()
    async with open_rights(*places, Keep(copies), takeover=True):
        assert all(is_locked(place) for place in places)


async def test_a_dead_agents_socket_file_is_replaced(places):
    places[1].mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(places[1] / SOCKET))
    async with open_rights(*places, Keep(), takeover=True):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asker:
            asker.connect(str(places[1] / SOCKET))
    assert [each.name for each in places[1].iterdir()] == ["lock"]

"""Both sides against each other: who is let in, what comes over, and who dies.

An asker that dies or hangs is a process of its own: the other side kills it.
Covers nodeagent/takeover/claim.py.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from netdrivers.keep import close_all
from nodeagent.errors import Busy, Conflict, Exhausted, Refused
from nodeagent.takeover import messages, offer
from nodeagent.takeover.claim import claim
from nodeagent.takeover.messages import PROTOCOL, Ask
from nodeagent.takeover.offer import Door, Situation
from nodeagent.takeover.packets import receive_packet, send_packet
from nodeagent.takeover.rights import SOCKET

ROOT = Path("/var/lib/x")
NETNS = 5
SITUATION = Situation(root=ROOT, netns=NETNS, is_systemds=False)
ASK = Ask(protocol=PROTOCOL, version="2", root=str(ROOT), netns=NETNS)
ASKER = f"""
import socket, sys, time
from nodeagent.takeover import messages
sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
sock.connect(sys.argv[1])
sock.send(messages.build(messages.Ask({PROTOCOL}, "2", {str(ROOT)!r}, {NETNS})))
while b"complete" not in sock.recv(1 << 16):
    pass
"""


@pytest.fixture
def make_door(tmp_path, nursery):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:

        def make(situation=SITUATION, fds=3):
            listener.bind(str(tmp_path / SOCKET))
            listener.listen()
            listener.setblocking(False)
            door = Door(listener, situation, lambda: fds)
            nursery.start_soon(door.run)
            return door

        yield make


def bundle(count):
    """One descriptor under many names."""
    return dict.fromkeys([f"n{n}" for n in range(count)], sys.stderr.fileno())


def are_same(fds, fd):
    return all(os.path.sameopenfile(each, fd) for each in fds)


def run_asker(run, more=""):
    return subprocess.Popen([sys.executable, "-c", ASKER + more, str(run / SOCKET)])


async def test_everything_comes_over_and_the_word_goes_back(make_door, tmp_path, nursery):
    door = make_door()
    fds = bundle(600)
    got, order = [], []

    async def take():
        got.append(await claim(tmp_path, ASK))
        order.append("has")
        await got[0].give_word()
        order.append("serves")

    nursery.start_soon(take)
    successor = await door.wait_asked()
    assert await successor.hand(fds, 12.5)
    await trio.testing.wait_all_tasks_blocked()
    assert order == ["has"], "it waits until nothing is held any more"
    successor.close()
    await trio.testing.wait_all_tasks_blocked()
    assert order == ["has", "serves"]
    assert list(got[0].fds) == list(fds)
    assert got[0].stopped_s == 12.5
    assert are_same(got[0].fds.values(), fds["n0"])
    close_all(got[0].fds)


@pytest.mark.parametrize(
    ("situation", "ask", "error", "text"),
    [
        (Situation(root=ROOT, netns=NETNS, is_systemds=True), ASK, Refused, "systemctl restart"),
        (Situation(root=Path("/other"), netns=NETNS, is_systemds=False), ASK, Conflict, "/other"),
        (Situation(root=ROOT, netns=6, is_systemds=False), ASK, Conflict, "network namespace"),
        (SITUATION, Ask(protocol=9, version="9", root="", netns=0), Refused, "protocol 1, not 9"),
    ],
)
async def test_who_cannot_is_told_why(make_door, tmp_path, situation, ask, error, text):
    make_door(situation)
    with pytest.raises(error, match=text):
        await claim(tmp_path, ask)


async def test_too_few_descriptors_are_seen_before_anything_is_stopped(make_door, tmp_path):
    make_door(fds=1 << 30)
    with pytest.raises(Exhausted, match="ulimit"):
        await claim(tmp_path, ASK)


async def test_a_second_one_is_refused_while_the_first_takes_over(make_door, tmp_path):
    door = make_door()
    with run_asker(tmp_path) as first:
        successor = await door.wait_asked()
        assert successor.pid == first.pid
        with pytest.raises(Busy, match=str(first.pid)):
            await claim(tmp_path, ASK)
        first.kill()
    assert not await successor.hand({}, 0.0)
    successor.close()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim, tmp_path, ASK)
        again = await door.wait_asked()
        nursery.cancel_scope.cancel()
    again.close()


async def test_one_that_ends_without_its_word_is_no_successor(make_door, tmp_path):
    door = make_door()
    with run_asker(tmp_path) as asker:
        successor = await door.wait_asked()
        assert not await successor.hand(bundle(3), 0.0)
        successor.close()
    assert asker.returncode in {0, -9}


async def test_one_that_hangs_is_killed_before_the_old_one_goes_on(
    make_door, tmp_path, monkeypatch
):
    monkeypatch.setattr(offer, "WORD_S", 0.3)
    door = make_door()
    with run_asker(tmp_path, "time.sleep(60)") as asker:
        successor = await door.wait_asked()
        with trio.fail_after(10):
            assert not await successor.hand(bundle(3), 0.0)
        assert asker.wait(5) == -9
        successor.close()


async def test_an_old_one_that_dies_half_way_leaves_what_it_sent(tmp_path, nursery):
    listener = trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    await listener.bind(str(tmp_path / SOCKET))
    listener.listen()

    async def die():
        sock, _ = await listener.accept()
        with listener, sock:
            await receive_packet(sock)
            for piece, part in messages.split(bundle(2)):
                await send_packet(sock, messages.build(piece), part)

    nursery.start_soon(die)
    left = await claim(tmp_path, ASK)
    assert (list(left.fds), left.stopped_s) == (["n0", "n1"], 0.0)
    await left.give_word()
    close_all(left.fds)


async def test_where_nobody_runs_there_is_nothing(tmp_path):
    assert (await claim(tmp_path, ASK)).fds == {}


@pytest.mark.parametrize("packet", [b"{}", b"\xff\xfe", b'{"type":"ask","protocol":1}'])
async def test_garbage_is_hung_up_on_and_harms_nobody(make_door, tmp_path, packet):
    door = make_door()
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        await sock.connect(str(tmp_path / SOCKET))
        await sock.send(packet)
        with trio.fail_after(5):
            assert await receive_packet(sock) == (b"", [])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim, tmp_path, ASK)
        successor = await door.wait_asked()
        nursery.cancel_scope.cancel()
    successor.close()

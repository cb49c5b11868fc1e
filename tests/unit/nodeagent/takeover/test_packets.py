"""Descriptors over a real socket."""

import os
import socket

import trio

from nodeagent.takeover import messages
from nodeagent.takeover.packets import receive_packet, send_packet


def pair():
    one, two = trio.socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return one, two


def are_same(fds, file):
    return all(os.path.sameopenfile(fd, file) for fd in fds)


async def test_a_full_piece_arrives_whole_and_is_not_inherited():
    one, two = pair()
    file = os.open("/dev/null", os.O_RDONLY)
    with one, two:
        await send_packet(one, b"names", [file] * messages.PIECE_FDS)
        packet, fds = await receive_packet(two)
        assert (packet, len(fds)) == (b"names", messages.PIECE_FDS)
        assert are_same(fds, file)
        assert not any(os.get_inheritable(fd) for fd in fds)
    for fd in [*fds, file]:
        os.close(fd)


async def test_the_end_is_an_empty_packet():
    one, two = pair()
    with two:
        one.close()
        assert await receive_packet(two) == (b"", [])


async def test_words_alone():
    one, two = pair()
    with one, two:
        await send_packet(one, b"word")
        assert await receive_packet(two) == (b"word", [])

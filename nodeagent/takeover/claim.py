"""The new agent's side: ask the running one for all it has."""

import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

import trio

from nodeagent.errors import AgentError, Busy, Conflict, Exhausted, Refused, Unavailable
from nodeagent.takeover import messages
from nodeagent.takeover.messages import Answer, Ask, Complete, NotSpoken, Piece, Refusal, Word
from nodeagent.takeover.packets import receive_packet, send_packet
from nodeagent.takeover.rights import SOCKET

log = logging.getLogger(__name__)

HAND_S: Final = 60.0  # for the old one to end its calls (10 s at most) and to close its database
CLOSE_S: Final = 2.0  # for the old one to close its copies once it has our word; a guess
_LEAVES: Final = MappingProxyType({"busy": Busy, "conflict": Conflict, "exhausted": Exhausted})


async def _say_nothing() -> None:
    """Nobody waits for our word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inheritance:
    """What a former agent left.

    ``stopped_s``: since when RPC has not been served (CLOCK_MONOTONIC); 0: nobody handed over.
    ``give_word``: to be called when we serve; afterwards the former agent holds nothing any more.
    """

    fds: Mapping[str, int] = field(default_factory=dict)
    stopped_s: float = 0.0
    give_word: Callable[[], Awaitable[None]] = _say_nothing


async def claim(run: Path, ask: Ask) -> Inheritance:
    """Ask the agent of this run directory; nothing if none runs, or none that can hand over.

    Raises:
        Busy, Conflict, Exhausted, Refused: it goes on, and says why.
        Unavailable: it does not answer; it goes on.
    """
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        await sock.connect(os.fspath(run / SOCKET))
        await send_packet(sock, messages.build(ask))
    except OSError as exc:
        log.info("no agent to take over from", extra={"reason": exc.strerror})
        sock.close()
        return Inheritance()
    try:
        with trio.fail_after(HAND_S):
            return await _receive(sock)
    except trio.TooSlowError as exc:
        sock.close()
        raise Unavailable("the running agent does not hand over", seconds=HAND_S) from exc
    except BaseException:
        sock.close()
        raise


async def _receive(sock: trio.socket.SocketType) -> Inheritance:
    fds: dict[str, int] = {}
    while True:
        packet, received = await receive_packet(sock)
        if not packet:
            log.warning("the old agent died while it handed over", extra={"sockets": len(fds)})
            sock.close()
            return Inheritance(fds=fds)
        message = _parse(packet)
        match message:
            case Refusal():
                raise _refused(message)
            case Piece():
                _add(fds, message, received)
            case Complete() if message.total == len(fds):
                give = partial(_give_word, sock)
                return Inheritance(fds=fds, stopped_s=message.stopped_s, give_word=give)
            case _:
                raise Unavailable("not all of the running agent's sockets came")


async def _give_word(sock: trio.socket.SocketType) -> None:
    with sock, trio.move_on_after(CLOSE_S):
        try:
            await send_packet(sock, messages.build(Word()))
            await receive_packet(sock)
        except OSError:  # it died after it gave all away
            log.info("the old agent has ended already")


def _parse(packet: bytes) -> Answer:
    try:
        return messages.parse(packet, Answer)  # type: ignore[arg-type]  # a union is a type here
    except NotSpoken as exc:
        raise Unavailable(str(exc)) from exc


def _add(fds: dict[str, int], piece: Piece, received: list[int]) -> None:
    try:
        surplus = messages.join(fds, piece, received)
    except NotSpoken as exc:
        raise Unavailable(str(exc)) from exc
    for fd in surplus:
        os.close(fd)


def _refused(refusal: Refusal) -> AgentError:
    return _LEAVES.get(refusal.kind, Refused)(refusal.message)

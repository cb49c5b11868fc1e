"""The old agent's side: who asks at RUN/takeover.sock, and handing over to it."""

import logging
import os
import resource
import select
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from nodeagent.rpc.auth import read_peer
from nodeagent.takeover import messages
from nodeagent.takeover.messages import Ask, Complete, NotSpoken, Refusal, Word
from nodeagent.takeover.packets import receive_packet, send_packet

log = logging.getLogger(__name__)

ASK_S: Final = 5.0  # to say what it wants once it is connected
WORD_S: Final = 120.0  # to adopt everything: 100 containers take 0.5 s; a guess for a bad day
SPARE_FDS: Final = 64  # beside the copies; a guess


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a successor must share with this agent, and what keeps it from having one."""

    root: Path
    netns: int
    is_systemds: bool

    def object_to(self, ask: Ask, *, fds: int) -> Refusal | None:
        """Why this asker cannot take over now; ``fds``: descriptors it would be given."""
        if self.is_systemds:
            text = "systemd runs this agent: systemctl restart nodeagent, which keeps its sockets"
            return Refusal("refused", text)
        if ask.root != str(self.root):
            text = f"the running agent's root is {self.root}, not {ask.root}: give the same --root"
            return Refusal("conflict", text)
        if ask.netns != self.netns:
            text = "the running agent is in another network namespace: start the new one in it"
            return Refusal("conflict", text)
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if fds + len(os.listdir("/proc/self/fd")) + SPARE_FDS > limit:  # noqa: PTH208
            text = f"too few descriptors for copies of {fds} (ulimit -n is {limit}): stop, start"
            return Refusal("exhausted", text)
        return None


class Successor:
    """Who asked to take over, and waits for what it is given."""

    def __init__(self, sock: trio.socket.SocketType, ask: Ask, pid: int) -> None:
        self.version = ask.version
        self.pid = pid
        self._sock = sock
        self._pidfd = _open_pidfd(sock, pid)
        self.gone = trio.Event()

    async def hand(self, fds: Mapping[str, int], stopped_s: float) -> bool:
        """Send everything and wait for its word; False: it is dead, and we go on.

        It is killed if its word does not come in time: two agents must never act at once.
        """
        try:
            with trio.move_on_after(WORD_S):
                if await self._give(fds, stopped_s):
                    return True
        except (OSError, NotSpoken) as exc:
            log.warning("the successor failed", extra={"pid": self.pid, "error": str(exc)})
        await self._kill()
        return False

    async def _give(self, fds: Mapping[str, int], stopped_s: float) -> bool:
        for piece, part in messages.split(fds):
            await send_packet(self._sock, messages.build(piece), part)
        await send_packet(self._sock, messages.build(Complete(total=len(fds), stopped_s=stopped_s)))
        packet, _ = await receive_packet(self._sock)
        return bool(packet) and messages.parse(packet, Word) == Word()

    async def _kill(self) -> None:
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return
        with trio.CancelScope(shield=True):  # nothing of ours may begin before it has ended
            await trio.lowlevel.wait_readable(self._pidfd)

    def close(self) -> None:
        """Tell it that nothing is held here any more; another one may ask."""
        self._sock.close()
        os.close(self._pidfd)
        self.gone.set()


def _open_pidfd(sock: trio.socket.SocketType, pid: int) -> int:
    """The process at the other end; it is there still, so its number is nobody else's."""
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLHUP)
    if poll.poll(0):
        os.close(pidfd)
        raise NotSpoken("it went away")
    return pidfd


class Door:
    """Lets in one successor at a time; others are told that they come too late."""

    def __init__(
        self, listener: socket.socket, situation: Situation, count_fds: Callable[[], int]
    ) -> None:
        self._listener = listener
        self._situation = situation
        self._count_fds = count_fds
        self._asked, self._askers = trio.open_memory_channel[Successor](1)
        self._inside: Successor | None = None
        self._scope = trio.CancelScope()

    async def wait_asked(self) -> Successor:
        """Wait for a successor that can be one."""
        return await self._askers.receive()

    async def run(self) -> None:
        """Greet until cancelled or closed."""
        listener = trio.socket.from_stdlib_socket(self._listener)
        with self._scope:
            async with trio.open_nursery() as nursery:
                while True:
                    sock, _ = await listener.accept()
                    nursery.start_soon(self._greet, sock)

    def close(self) -> None:
        """Greet nobody any more; the listener stays the caller's."""
        self._scope.cancel()

    async def _greet(self, sock: trio.socket.SocketType) -> None:
        """Whatever it says, the agent goes on."""
        try:
            with trio.move_on_after(ASK_S) as deadline:
                answer = await self._judge(sock)
                if isinstance(answer, Refusal):
                    log.warning("takeover refused", extra={"reason": answer.message})
                    await send_packet(sock, messages.build(answer))
                    sock.close()
            if deadline.cancelled_caught:
                sock.close()
        except (OSError, NotSpoken) as exc:
            log.warning("takeover failed", extra={"error": str(exc)})
            sock.close()

    async def _judge(self, sock: trio.socket.SocketType) -> Refusal | None:
        peer = read_peer(sock)
        if peer.uid not in {0, os.geteuid()}:
            return Refusal("refused", f"user {peer.uid} may not replace the agent")
        packet, _ = await receive_packet(sock)
        if not packet:
            raise NotSpoken("it went away")
        spoken = messages.parse_protocol(packet)
        if spoken != messages.PROTOCOL:
            text = f"the running agent hands over by protocol {messages.PROTOCOL}, not {spoken}"
            return Refusal("refused", f"{text}: stop it (its containers run on), then start")
        ask = messages.parse(packet, Ask)
        if self._inside is not None and not self._inside.gone.is_set():
            return Refusal("busy", f"process {self._inside.pid} is taking over already")
        if objection := self._situation.object_to(ask, fds=self._count_fds()):
            return objection
        self._inside = Successor(sock, ask, peer.pid)
        self._asked.send_nowait(self._inside)
        return None

"""Who reaches whom: servers and clients in many namespaces, in one process, all at once.

A socket belongs to the namespace it was opened in, whoever uses it afterwards; so a matrix of
hundreds of cells takes as long as its slowest one.
"""

import os
import select
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from netdrivers.kernel.netns import HERE, Libc, open_fd

Protocol = Literal["tcp", "udp"]
KINDS: Final[Mapping[Protocol, int]] = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
SILENCE_S: Final = 1.6  # a lost SYN is sent again after one second
PATIENCE_S: Final = 20.0  # for answers that must come, on a busy machine
AGAIN_S: Final = 0.25  # a datagram without an answer is sent again


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One question: does ``source`` get an answer from this address, and as whom is it seen?"""

    source: str
    address: str
    port: int
    protocol: Protocol
    reaches: bool
    seen_as: str = ""  # "": whoever
    what: str = ""

    def judge(self, answer: str | None, *, arrived: bool) -> str:
        """What is wrong with the answer, or with what the server heard; "" if nothing."""
        if arrived and not self.reaches:
            return f"{self}: a datagram arrived"
        if (answer is not None) is not self.reaches:
            return f"{self}: {'silence' if answer is None else f'reached, as {answer}'}"
        if self.seen_as and answer != self.seen_as:
            return f"{self}: seen as {answer}, not {self.seen_as}"
        return ""

    def __str__(self) -> str:
        return f"{self.source} -> {self.what} [{self.address}]:{self.port}/{self.protocol}"


@dataclass(slots=True)
class Prober:
    """Sockets in the namespaces of the given names; servers tell each client its address."""

    spaces: Mapping[str, Path]
    _servers: dict[int, socket.socket] = field(default_factory=dict)
    _heard: set[bytes] = field(default_factory=set)  # signs of whose datagrams arrived
    _libc: Libc = field(default_factory=Libc)

    def listen(self, space: str, port: int, address: str = "") -> None:
        """Serve TCP and UDP, on one address or on all of both families."""
        for text in [address] if address else ["0.0.0.0", "::"]:
            for kind in KINDS.values():
                sock = self._open(space, text, kind)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if ":" in text:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((text, port))
                if kind == socket.SOCK_STREAM:
                    sock.listen(512)
                self._servers[sock.fileno()] = sock

    def close(self) -> None:
        """Stop serving."""
        for sock in self._servers.values():
            sock.close()
        self._servers.clear()

    def ask(self, cells: Iterable[Cell]) -> list[str]:
        """Ask all at once; what is not as it should be, in words."""
        asking = {self._begin(cell): cell for cell in cells}
        self._heard.clear()
        try:
            answers = self._gather(asking)
            verdicts = [
                cell.judge(answers.get(sock), arrived=_sign(sock) in self._heard)
                for sock, cell in asking.items()
            ]
        finally:
            for sock in asking:
                sock.close()
        return [said for said in verdicts if said]

    def _open(self, space: str, address: str, kind: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self._inside(self.spaces[space]):
            return socket.socket(family, kind | socket.SOCK_NONBLOCK)

    @contextmanager
    def _inside(self, path: Path) -> Iterator[None]:
        there, back = os.open(path, os.O_RDONLY | os.O_CLOEXEC), open_fd(HERE)
        try:
            self._libc.setns(there)
            try:
                yield
            finally:
                self._libc.setns(back)
        finally:
            os.close(there)
            os.close(back)

    def _begin(self, cell: Cell) -> socket.socket:
        sock = self._open(cell.source, cell.address, KINDS[cell.protocol])
        with suppress(OSError):  # no route at all is a silence like any other
            sock.connect((cell.address, cell.port))
        return sock

    def _gather(self, asking: Mapping[socket.socket, Cell]) -> dict[socket.socket, str]:
        answers: dict[socket.socket, str] = {}
        open_ = {sock.fileno(): sock for sock in asking}
        wanted = {sock for sock, cell in asking.items() if cell.reaches}
        started, sent = time.monotonic(), 0.0
        with select.epoll() as poll:
            for fd in (*self._servers, *open_):
                poll.register(fd, select.EPOLLIN)
            while True:
                now = time.monotonic()
                waited = now - started
                if waited > PATIENCE_S or (waited > SILENCE_S and wanted <= answers.keys()):
                    return answers
                if now - sent > AGAIN_S:
                    sent = now
                    _send_again(sock for sock in asking if sock not in answers)
                for fd, _ in poll.poll(0.05):
                    if fd in self._servers:
                        self._serve(self._servers[fd])
                    else:
                        sock = open_[fd]
                        _hear(sock, answers)
                        if sock.type == socket.SOCK_STREAM or sock in answers:
                            poll.unregister(fd)

    def _serve(self, server: socket.socket) -> None:
        with suppress(OSError):  # the client has gone already
            if server.type == socket.SOCK_DGRAM:
                sign, peer = server.recvfrom(100)
                self._heard.add(sign)
                server.sendto(peer[0].encode(), peer)
                return
            client, peer = server.accept()
            with client:
                client.send(peer[0].encode())


def _sign(sock: socket.socket) -> bytes:
    return str(sock.fileno()).encode()


def _send_again(socks: Iterable[socket.socket]) -> None:
    for sock in socks:
        if sock.type == socket.SOCK_DGRAM:
            with suppress(OSError):  # refused: the silence is counted
                sock.send(_sign(sock))


def _hear(sock: socket.socket, answers: dict[socket.socket, str]) -> None:
    with suppress(OSError):  # refused
        heard = sock.recv(100)
        if heard:
            answers[sock] = heard.decode()

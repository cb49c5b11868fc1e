"""The child process that sends one probe and tells what became of it.

``python -m netdrivers.explain.probe``: an errand in on stdin, tidings out on stdout. All that it
makes in the kernel are sockets and tables that belong to a socket: a kill leaves nothing.
"""

import os
import secrets
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import msgspec

from netdrivers.errors import NetDriverError, Refused
from netdrivers.explain.errand import Errand, Ruled, Seen, Space, Tidings, What
from netdrivers.explain.packets import build_packet, read_packet
from netdrivers.explain.tap import Tap
from netdrivers.explain.trace import Event, Tracer, build_match
from netdrivers.kernel.netns import Namespaces, open_fd
from netdrivers.kernel.nftables import Nftables
from netdrivers.kernel.packetfilter import OTHERHOST, OUTGOING

TABLE: Final = "nodeagent-trace-"
AGAIN_S: Final = 0.3  # a first packet may be lost while a neighbour is looked for
SETTLE_S: Final = 0.05  # what is said of a packet comes a moment after its answer


class Watch:
    """One namespace being watched."""

    def __init__(self, space: Space, errand: Errand, stack: ExitStack) -> None:
        self.space = space
        self._tag = errand.tag
        self._of: dict[int, tuple[What, bool]] = {}
        version = 6 if ":" in errand.target else 4
        with enter(space):
            self._tap = Tap(version, errand.protocol, errand.tag)
            stack.callback(self._tap.close)
            spaces = Namespaces()
            stack.callback(spaces.close)
            nft = Nftables(spaces, with_handles=True)
            stack.callback(nft.close)
            self._tracer = Tracer(nft, f"{TABLE}{secrets.token_hex(4)}")
            stack.callback(self._tracer.close)
        match = build_match(version, errand.protocol, errand.tag)
        swallow = match[0] if space.swallow else ""
        try:
            self.note = self._tracer.mark(match, space.links, swallow=swallow)
        except Refused as exc:
            self.note = f"no trace of rules: {exc}"

    @property
    def sockets(self) -> list[socket.socket]:
        """What to wait for."""
        return [self._tap.sock, self._tracer.sock]

    def hear(self) -> Iterator[Seen]:
        """Packets of ours that passed a link."""
        for link, kind, data in self._tap.hear():
            known = read_packet(data, self._tag)
            if known is not None:
                what, big, text = known
                yield Seen(
                    space=self.space.id,
                    link=link,
                    outgoing=kind == OUTGOING,
                    what=what,
                    big=big,
                    text=text,
                    missed=kind == OTHERHOST,
                )

    def hear_rules(self) -> Iterator[Ruled | Seen]:
        """Rules that dropped a packet of ours; our own does at the end of a datagram's way."""
        for event in self._tracer.hear():
            self._remember(event)
            if not event.dropped or event.id not in self._of:
                continue
            what, big = self._of[event.id]
            if event.table.startswith(TABLE):
                text = "the datagram arrived"
                yield Seen(
                    space=self.space.id, link="", outgoing=False, what="reply", big=big, text=text
                )
            else:
                yield Ruled(
                    space=self.space.id,
                    what=what,
                    big=big,
                    family=event.family,
                    table=event.table,
                    chain=event.chain,
                    rule=self._tracer.rule(event),
                )

    def _remember(self, event: Event) -> None:
        # the kernel repeats the packet once for each hook, and calls it by its id in between; what
        # others trace at the same time is heard, too
        known = read_packet(event.packet, self._tag) if event.packet else None
        if known is not None:
            self._of[event.id] = known[:2]
        elif event.handle and event.table == self._tracer.name:
            self._of.setdefault(event.id, ("probe", False))


@contextmanager
def enter(space: Space) -> Iterator[None]:
    """Be in a namespace."""
    spaces, fd = Namespaces(), open_fd(space.path)
    try:
        with spaces.inside(fd):
            yield
    finally:
        os.close(fd)
        spaces.close()


class Probe:
    """The errand being run."""

    def __init__(self, errand: Errand, stack: ExitStack) -> None:
        self._errand = errand
        self._watches = [Watch(space, errand, stack) for space in errand.spaces]
        self._waiting = stack.enter_context(selectors.DefaultSelector())
        for watch in self._watches:
            for sock in watch.sockets:
                self._waiting.register(sock, selectors.EVENT_READ)
        self._seen: dict[Seen, None] = {}
        self._ruled: dict[Ruled, None] = {}
        self._sock = stack.enter_context(self._open_raw())

    def _open_raw(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._errand.target else socket.AF_INET
        with enter(self._errand.spaces[0]):
            return socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def run(self) -> Tidings:
        """Send the small one, then the big one if that one is worth while."""
        refused = self._try(big=False)
        if not refused and self._errand.big_bytes and self._came_through(big=False):
            self._try(big=True)  # refused: it was too big for the first link, which the facts say
        notes = [watch.note for watch in self._watches if watch.note]
        return Tidings(seen=list(self._seen), ruled=list(self._ruled), refused=refused, notes=notes)

    def _try(self, *, big: bool) -> str:
        packet = build_packet(self._errand, big=big)
        until = time.monotonic() + self._errand.wait_s
        refused = self._send(packet)
        self._listen(time.monotonic() + (SETTLE_S if refused else AGAIN_S), big=big)
        if not refused and not self._ended(big=big):
            refused = self._send(packet)
            self._listen(until, big=big)
        self._listen(time.monotonic() + SETTLE_S, big=None)
        return refused

    def _send(self, packet: bytes) -> str:
        try:
            self._sock.sendto(packet, (self._errand.target, 0))
        except OSError as exc:
            return exc.strerror or str(exc)
        return ""

    def _listen(self, until: float, *, big: bool | None) -> None:
        """Hear until then, or until the fate of the packet is known."""
        while (left := until - time.monotonic()) > 0:
            if big is not None and self._ended(big=big):
                return
            self._waiting.select(left)
            for watch in self._watches:
                self._seen |= dict.fromkeys(watch.hear())
                for each in watch.hear_rules():
                    if isinstance(each, Seen):
                        self._seen[each] = None
                    else:
                        self._ruled[each] = None

    def _ended(self, *, big: bool) -> bool:
        """Answered, refused on the way, dropped by a rule, or at its end where none answers."""
        return (
            self._came_through(big=big)
            or any(each.what == "error" and each.big == big for each in self._seen)
            or any(each.big == big for each in self._ruled)
        )

    def _came_through(self, *, big: bool) -> bool:
        first = self._errand.spaces[0].id
        return any(
            each.what == "reply" and not each.outgoing and (each.space == first or not each.link)
            for each in self._seen
            if each.big == big
        )


def main() -> int:
    """Run the errand on stdin."""
    errand = msgspec.json.decode(sys.stdin.buffer.read(), type=Errand)
    try:
        with ExitStack() as stack:
            tidings = Probe(errand, stack).run()
    except (NetDriverError, OSError) as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(tidings))
    return 0


if __name__ == "__main__":
    sys.exit(main())

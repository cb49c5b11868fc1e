"""The agent as a row of lives: one, and another if a successor failed; see the package's text."""

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from netdrivers.keep import Keep, close_all
from nodeagent.control.system import VERSION
from nodeagent.takeover.claim import Inheritance, claim
from nodeagent.takeover.fdstore import FdStore, is_systemds, take_listen_fds
from nodeagent.takeover.messages import PROTOCOL, Ask
from nodeagent.takeover.offer import Door, Situation, Successor
from nodeagent.takeover.rights import open_rights

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Whose agent it is."""

    root: Path
    run: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a life begins with, and where its successor will ask."""

    keep: Keep
    before: Inheritance
    door: Door


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a life leaves to its successor; its name server answers until ``drain``."""

    successor: Successor
    fds: Mapping[str, int]  # copies
    stopped_s: float
    drain: Callable[[], Awaitable[None]]


LiveOnce = Callable[[Start], Awaitable[Left]]


async def live(once: LiveOnce, place: Place, nursery: trio.Nursery, *, takeover: bool) -> None:
    """Live, and again when a successor fails; return when one has taken over.

    Args:
        once: one life: serve until the door lets a successor in.
        nursery: for what goes on from one life to the next.
        takeover: begin with what the running agent has, if there is one.

    Raises:
        Busy, Conflict, Exhausted, Refused, Unavailable: another agent runs, and goes on.
    """
    netns = _read_netns()
    ask = Ask(protocol=PROTOCOL, version=VERSION, root=str(place.root), netns=netns)
    before = await claim(place.run, ask) if takeover else Inheritance()
    stored = take_listen_fds(os.environ)
    store = FdStore(os.environ, stored)
    nursery.start_soon(store.run)
    new_keep = partial(Keep, on_put=store.put, on_drop=store.drop)
    keep = new_keep({**stored, **before.fds})
    async with open_rights(place.root, place.run, keep, takeover=takeover) as rights:
        situation = Situation(root=place.root, netns=netns, is_systemds=is_systemds(os.environ))
        door = Door(rights.listener, situation, lambda: keep.count())
        nursery.start_soon(door.run)
        while True:
            rights.tell(keep)
            write_pid(place.run)  # again when a successor that wrote its own has failed
            left = await once(Start(keep=keep, before=before, door=door))
            if await left.successor.hand(left.fds, left.stopped_s):
                break
            left.successor.close()
            log.warning("the successor failed; going on", extra={"pid": left.successor.pid})
            keep = new_keep(left.fds)
            before = Inheritance(fds=left.fds, stopped_s=left.stopped_s, give_word=left.drain)
        close_all(left.fds)
        door.close()
        rights.give_up()
    left.successor.close()  # it waits until nothing is held here any more
    await left.drain()
    log.info("replaced", extra={"by": left.successor.pid, "version": left.successor.version})


def write_pid(run: Path) -> None:
    """Say in RUN/nodeagent.pid who the agent is, for those who start and stop it by hand."""
    made = run / "nodeagent.pid.new"
    made.write_text(f"{os.getpid()}\n", encoding="ascii")
    made.replace(run / "nodeagent.pid")


def _read_netns() -> int:
    return Path("/proc/self/ns/net").stat().st_ino

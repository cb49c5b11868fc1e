"""Leases of volumes in any store: a grant is a comparison and a write in one commit.

The promise is the store's own (``nodeagent.state.store``): of two agents that grant one volume at
once, one is refused by its expectation, reads again and decides anew.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import trio

from nodeagent.errors import Unavailable
from nodeagent.model.lease import Book, Claim, Holder, Lease, drop, grant, leave
from nodeagent.state.store import ABSENT, Conflict, Delete, Put, Row, Store

PREFIX: Final = "lease/"
TRIES: Final = 50  # against other agents; each try that fails means that another one went through


class Leases:
    """Grants, and what is granted. Cancel: a change has happened whole or not at all."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[str, tuple[int, Book]] = {}  # revision and book, as seen last

    async def load(self) -> None:
        """Read everything; only at start."""
        self._seen = {
            row.key.removeprefix(PREFIX): (row.revision, _decode(row))
            for row in await self._store.read(PREFIX)
        }

    def book(self, volume: str) -> Book:
        """All about the use of a volume, as last seen. No I/O."""
        return self._seen[volume][1] if volume in self._seen else Book(volume=volume)

    def held(self, holder: str) -> list[Lease]:
        """What a holder has, as last seen. No I/O."""
        return [each for each in self.all() if each.holder == holder]

    def all(self) -> list[Lease]:
        """Every lease, as last seen. No I/O."""
        return [each for _, book in self._seen.values() for each in book.leases]

    async def take(self, claims: Sequence[Claim], holder: Holder, *, now: str) -> list[Lease]:
        """Grant all claims in one commit, or none. Claims that are held already are kept.

        Raises:
            Busy: a sharing mode does not allow it.
        """
        by_volume = {each.volume: each for each in claims}

        def change(book: Book) -> Book:
            return grant(book, by_volume[book.volume], holder, now=now)

        books = await self._change(list(by_volume), change)
        return [each for book in books for each in book.leases if each.holder == holder.id]

    async def leave(self, volumes: Sequence[str], holder: str) -> None:
        """Note that the holder gives its leases back, before anything is unmounted."""
        await self._change(volumes, lambda book: leave(book, holder))

    async def drop(self, volumes: Sequence[str], holder: str, *, now: str) -> None:
        """End the holder's leases: nothing of it is mounted any more."""
        await self._change(volumes, lambda book: drop(book, holder, now=now))

    async def check(self, lease: Lease) -> bool:
        """Whether the store still has this lease, of this epoch: after a restart or a pause."""
        await self._look(lease.volume)
        leases = self.book(lease.volume).leases
        return any((each.holder, each.epoch) == (lease.holder, lease.epoch) for each in leases)

    async def forget(self, volume: str) -> None:
        """The volume is gone. A later one of its name begins above every epoch it had."""
        await trio.lowlevel.checkpoint_if_cancelled()
        with trio.CancelScope(shield=True):
            await self._store.commit(Delete(PREFIX + volume))
            self._seen.pop(volume, None)

    async def _look(self, volume: str) -> None:
        row = await self._store.get(PREFIX + volume)
        if row:
            self._seen[volume] = (row.revision, _decode(row))
        else:
            self._seen.pop(volume, None)

    async def _change(self, volumes: Sequence[str], change: Callable[[Book], Book]) -> list[Book]:
        await trio.lowlevel.checkpoint_if_cancelled()
        with trio.CancelScope(shield=True):  # what is durable is seen, too
            for _ in range(TRIES):
                try:
                    return await self._try(volumes, change)
                except Conflict:
                    for volume in volumes:
                        await self._look(volume)
        raise Unavailable("others change the leases all the time", volumes=sorted(volumes))

    async def _try(self, volumes: Sequence[str], change: Callable[[Book], Book]) -> list[Book]:
        """Decide by what was seen last; the expectations of the commit tell if that is old."""
        found, changed = [], []
        for volume in volumes:
            before = self.book(volume)
            if not before.epoch:  # the store's revision is above every epoch it ever granted
                before = Book(volume=volume, epoch=await self._store.commit())
            after = change(before)
            found.append(after)
            if after != before:
                changed.append(after)
        if changed:
            revision = await self._store.commit(*(self._put(book) for book in changed))
            self._seen |= {book.volume: (revision, book) for book in changed}
        return found

    def _put(self, book: Book) -> Put:
        revision = self._seen[book.volume][0] if book.volume in self._seen else ABSENT
        return Put(PREFIX + book.volume, msgspec.msgpack.encode(book), expect=revision)


def _decode(row: Row) -> Book:
    return msgspec.msgpack.decode(row.value, type=Book)

"""Leases of volumes that several hosts of a cluster mount, and the session each node has them in.

A session is a lease of the store: ``fence/NODE`` bears its number and goes when the node has not
renewed it for its time. A volume's lease counts as long as its node's session is there. So nobody
has to decide that a node is dead, and a session that has ended never comes back.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
import trio

from nodeagent.errors import Unavailable
from nodeagent.model.lease import Book, Claim, Holder, Lease, drop, grant, keep, without_void
from nodeagent.state.store import ABSENT, Conflict, Put, Row, SharedStore

BOOKS: Final = "lease/"
FENCES: Final = "fence/"
TRIES: Final = 50  # against other nodes; each try that fails means that another one went through


class SharedLeases:
    """Grants among nodes. Nothing is remembered: the store is asked each time."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store

    async def begin(self, node: str, ttl_s: float) -> int:
        """A new session of a node. Leases that it has in a former one are void from now on."""
        session = await self._store.grant(ttl_s)
        await self._store.commit(Put(FENCES + node, str(session).encode(), lease=session))
        return session

    async def renew(self, session: int) -> None:
        """Keep it. Raises Missing: it has ended."""
        await self._store.renew(session)

    async def end(self, session: int) -> None:
        """Nothing is held in it any more."""
        await self._store.revoke(session)

    async def take(self, claims: Sequence[Claim], holder: Holder, *, now: str) -> list[Lease]:
        """Grant all claims in one commit, or none; leases of nodes that are lost give way.

        Raises:
            Busy: a sharing mode does not allow it; says whose the lease is.
        """
        by_volume = {each.volume: each for each in claims}

        def change(book: Book) -> Book:
            return grant(book, by_volume[book.volume], holder, now=now)

        books = await self._change(list(by_volume), change)
        return [each for book in books for each in book.leases if each.holder == holder.id]

    async def keep(self, volume: str, holder: str, session: int) -> bool:
        """Have the holder's lease in that session; False: it lost it, somebody else may have it."""
        for _ in range(TRIES):
            row, book = await self._look(volume)
            kept = keep(book, holder, session)
            if kept is None or kept == book:
                return kept is not None
            try:
                await self._store.commit(_put(row, kept))
            except Conflict:
                continue
            return True
        raise Unavailable("others change the leases all the time", volumes=[volume])

    async def drop(self, volume: str, holder: str, *, now: str) -> None:
        """The holder has it unmounted."""
        await self._change([volume], lambda book: drop(book, holder, now=now))

    async def break_(self, volume: str, node: str) -> list[Lease]:
        """Take all leases of a volume from a node; what it had."""
        taken: list[Lease] = []

        def change(book: Book) -> Book:
            taken[:] = [each for each in book.leases if each.node == node]
            rest = [each for each in book.leases if each.node != node]
            return msgspec.structs.replace(book, leases=rest) if taken else book

        await self._change([volume], change)
        return taken

    async def read(self) -> list[tuple[Lease, bool]]:
        """Every lease, and whether its node still has the session."""
        books = [_decode(row) for row in await self._store.read(BOOKS)]
        sessions = await self.sessions()
        return [(each, sessions.get(each.node) == each.session) for b in books for each in b.leases]

    async def sessions(self) -> dict[str, int]:
        """By node; ask only after reading the books that are judged by it."""
        rows = await self._store.read(FENCES)
        return {row.key.removeprefix(FENCES): _number(row.value) for row in rows}

    async def _look(self, volume: str) -> tuple[Row | None, Book]:
        row = await self._store.get(BOOKS + volume)
        return row, _decode(row) if row else Book(volume=volume)

    async def _change(self, volumes: Iterable[str], change: Callable[[Book], Book]) -> list[Book]:
        await trio.lowlevel.checkpoint_if_cancelled()
        volumes = list(volumes)
        for _ in range(TRIES):
            looked = [await self._look(volume) for volume in volumes]
            sessions = await self.sessions()  # after the books, see without_void
            after = [change(without_void(book, sessions)) for _, book in looked]
            puts = [
                _put(row, new) for (row, old), new in zip(looked, after, strict=True) if new != old
            ]
            try:
                if puts:
                    await self._store.commit(*puts)
            except Conflict:
                continue
            return after
        raise Unavailable("others change the leases all the time", volumes=sorted(volumes))


def _put(row: Row | None, book: Book) -> Put:
    return Put(
        BOOKS + book.volume, msgspec.msgpack.encode(book), expect=row.revision if row else ABSENT
    )


def _decode(row: Row) -> Book:
    return msgspec.msgpack.decode(row.value, type=Book)


def _number(value: bytes) -> int:
    return int(value) if value.isdigit() else 0  # a worker may have written anything to its own

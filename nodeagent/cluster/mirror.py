"""Rows of the shared store in memory, followed: what is read here costs no question."""

import logging
from collections.abc import Callable
from typing import NoReturn, TypeVar

import msgspec
import trio

from nodeagent.errors import Unavailable, kind_of
from nodeagent.state.store import Compacted, Row, SharedStore

log = logging.getLogger(__name__)
T = TypeVar("T")

AGAIN_S = 1.0  # after a store that does not answer; a guess


class Mirror:
    """All rows below a prefix. ``synced`` once they have been read; later they may be old."""

    def __init__(
        self, store: SharedStore, prefix: str, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._on_change = on_change
        self.rows: dict[str, Row] = {}  # by key without the prefix
        self.synced = trio.Event()

    async def run(self) -> NoReturn:
        """Follow for ever, through any failure of the store."""
        while True:
            try:
                await self._follow()
            except Compacted:
                log.info("too much was missed, reading again", extra={"prefix": self._prefix})
            except Exception as exc:  # also a right that was taken away
                if not kind_of(exc):
                    raise
                log.warning(
                    "the cluster's store cannot be read, going on with what is known",
                    extra={"prefix": self._prefix, "error": str(exc)},
                )
                await trio.sleep(AGAIN_S)

    async def _follow(self) -> NoReturn:
        # before reading: what changes meanwhile is told, maybe twice, and never not at all
        revision = await self._store.commit()
        rows = await self._store.read(self._prefix)
        self.rows = {row.key.removeprefix(self._prefix): row for row in rows}
        self.synced.set()
        self._on_change()
        async with self._store.watch(self._prefix, after=revision) as changes:
            async for some in changes:
                for change in some:
                    key = change.key.removeprefix(self._prefix)
                    if change.row is None:
                        self.rows.pop(key, None)
                    else:
                        self.rows[key] = change.row
                self._on_change()
        raise Unavailable("the watch ended", prefix=self._prefix)

    def decoded(self, type_: type[T], suffix: str = "") -> dict[str, T]:
        """Values by key, of the rows whose key ends so; the suffix is cut off."""
        return {
            key.removesuffix(suffix): msgspec.msgpack.decode(row.value, type=type_)
            for key, row in self.rows.items()
            if key.endswith(suffix)
        }

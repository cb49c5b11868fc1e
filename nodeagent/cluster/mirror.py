"""Rows of the shared store in memory, followed: what is read here costs no question."""

import logging
from collections.abc import Callable
from typing import NoReturn, TypeVar, cast

import msgspec
import trio

from nodeagent.errors import Unavailable, kind_of
from nodeagent.state.store import Compacted, Row, SharedStore

log = logging.getLogger(__name__)
T = TypeVar("T")

AGAIN_S = 1.0  # after a store that does not answer; a guess


class Mirror:
    """All rows below a prefix. ``synced`` once they have been read; later they may be old.

    Args:
        on_change: told of every change.
        fits: whether a decoded value can be true.
    """

    def __init__(
        self,
        store: SharedStore,
        prefix: str,
        on_change: Callable[[], None] = lambda: None,
        fits: Callable[[object], bool] = lambda _: True,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._on_change = on_change
        self._fits = fits
        self.rows: dict[str, Row] = {}  # by key without the prefix
        self._believed: dict[
            str, tuple[Row, object]
        ] = {}  # the row that was decoded, and its value
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
        self._believed.clear()
        self.synced.set()
        self._on_change()
        async with self._store.watch(self._prefix, after=revision) as changes:
            async for some in changes:
                for change in some:
                    key = change.key.removeprefix(self._prefix)
                    if change.row is None:
                        self.rows.pop(key, None)
                        self._believed.pop(key, None)
                    else:
                        self.rows[key] = change.row
                self._on_change()
        raise Unavailable("the watch ended", prefix=self._prefix)

    def decoded(self, type_: type[T], suffix: str = "") -> dict[str, T]:
        """Values by key, of the rows whose key ends so and whose value reads as that type.

        The suffix is cut off. A row is decoded once, and told of once if it does not read so.
        """
        found: dict[str, T] = {}
        for key, row in self.rows.items():
            if not key.endswith(suffix):
                continue
            known = self._believed.get(key)
            if known is None or known[0] is not row:
                known = self._believed[key] = (row, believe(row, type_, self._fits))
            if known[1] is not None:
                found[key.removesuffix(suffix)] = cast("T", known[1])
        return found


def believe(row: Row, type_: type[T], fits: Callable[[object], bool] = lambda _: True) -> T | None:
    """The value of a row, None if it does not read as that type, or does not fit.

    Nodes write rows of their own, and one that is broken or hostile must not break the others.
    """
    try:
        value = msgspec.msgpack.decode(row.value, type=type_)
        why = "" if fits(value) else "it cannot be true"
    except msgspec.DecodeError as exc:
        value, why = None, str(exc)
    if why:
        log.warning("a row of the cluster is ignored", extra={"key": row.key, "why": why})
        return None
    return value

"""What the agent expects of the place where its desired state is durable.

``Store`` is kept by one host's SQLite and by a cluster's etcd; ``SharedStore`` is what hosts share.

Keys are paths (``container/ID``), values are opaque bytes. Every successful commit makes one new
revision of the whole store, and each row remembers the revision that wrote it last. Both SQLite
(one host) and etcd (a cluster) can keep this promise, so the limits here are the stricter of both.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from nodeagent.errors import AgentError, Invalid
from nodeagent.errors import Conflict as _Conflict

KEY_MAX_BYTES: Final = 1024
VALUE_MAX_BYTES: Final = 1 << 20  # etcd refuses requests over 1.5 MiB
ABSENT: Final = 0  # as an expectation: the key must not be there


class Conflict(_Conflict):
    """A key was not as expected; nothing of the commit happened. Field ``key`` names it."""

    def __init__(self, *, key: str, expect: int, revision: int) -> None:
        super().__init__(
            "the object was changed by somebody else", key=key, expect=expect, revision=revision
        )
        self.key = key


class Compacted(AgentError):
    """Changes since then are not kept any more: read everything, and watch from now on."""

    kind: ClassVar[str] = "missing"


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key. ``expect``: None = whatever is there, 0 = absent, n = has revision n.

    ``lease``: of a shared store; the row goes when the lease ends.
    """

    key: str
    value: bytes
    expect: int | None = None
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key, if it is there. ``expect`` as in ``Put``."""

    key: str
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One key as stored, and the revision that wrote it."""

    key: str
    value: bytes
    revision: int


class Store(Protocol):
    """A durable map with revisions."""

    async def commit(self, *ops: Put | Delete) -> int:
        """Apply all of ``ops`` durably or none; return the new revision of the store.

        Without ops nothing happens and the present revision is returned.

        Raises:
            Conflict: an expectation failed; names the first such key.
            Invalid: a key occurs twice, is empty or too long, or a value is too large.
            Unavailable: the store is closed, or a part of it does not answer.
            Exhausted: the disk is full.

        Cancel: the commit happens whole or not at all, of a shared store maybe a moment later; the
            store remains usable.
        """
        ...

    async def read(self, prefix: str) -> list[Row]:
        """All rows whose key starts with ``prefix``, by key, of one moment."""
        ...

    async def get(self, key: str) -> Row | None:
        """One row, or None."""
        ...

    async def close(self) -> None:
        """Finish what runs and let go of the store. Idempotent."""


@dataclass(frozen=True, slots=True)
class Change:
    """A key was written, or removed (``row`` None), by the commit of that revision."""

    key: str
    row: Row | None
    revision: int


class SharedStore(Store, Protocol):
    """A store that several hosts use: who else changes it is told, and who dies leaves nothing.

    Every call ends within a deadline of the store's own, with Unavailable if nobody answers.
    """

    def watch(
        self, prefix: str, *, after: int
    ) -> AbstractAsyncContextManager[AsyncIterator[tuple[Change, ...]]]:
        """Changes below ``prefix`` with a revision above ``after``: in order, and none is left out.

        A connection that is lost is made anew; nobody notices.

        Raises:
            Compacted: ``after`` is too long ago; from the iterator.
        """
        ...

    async def grant(self, ttl_s: float) -> int:
        """A new lease: rows put with it go ``ttl_s`` after it was last renewed, or a bit later."""
        ...

    async def renew(self, lease: int) -> float:
        """Keep a lease alive; the seconds it has now. Raises Missing: it has ended."""
        ...

    async def revoke(self, lease: int) -> None:
        """End a lease and its rows now. One that has ended is no error."""


def check_ops(ops: Sequence[Put | Delete]) -> None:
    """Refuse what one of the stores could not keep (Invalid)."""
    check_keys(op.key for op in ops)
    if len({op.key for op in ops}) != len(ops):
        raise Invalid("a key occurs twice in one commit", field="key")
    for op in ops:
        if isinstance(op, Put) and len(op.value) > VALUE_MAX_BYTES:
            raise Invalid(
                "the value is too large", key=op.key, bytes=len(op.value), max=VALUE_MAX_BYTES
            )


def check_keys(keys: Iterable[str]) -> None:
    """Refuse keys that are empty, too long or not text (Invalid)."""
    for key in keys:
        try:
            size = len(key.encode())
        except UnicodeEncodeError as exc:
            raise Invalid("the key is not valid text", field="key", key=repr(key)) from exc
        if not 0 < size <= KEY_MAX_BYTES or "\0" in key:
            raise Invalid("the key is empty, too long or has a NUL", field="key", bytes=size)

"""What the agent expects of the place where its desired state is durable.

Keys are paths (``container/ID``), values are opaque bytes. Every successful commit makes one new
revision of the whole store, and each row remembers the revision that wrote it last. Both SQLite
(one host) and etcd (a cluster) can keep this promise, so the limits here are the stricter of both.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from nodeagent.errors import Conflict as _Conflict
from nodeagent.errors import Invalid

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


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key. ``expect``: None = whatever is there, 0 = absent, n = has revision n."""

    key: str
    value: bytes
    expect: int | None = None


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

        Cancel: the commit has happened whole or not at all; the store remains usable.
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

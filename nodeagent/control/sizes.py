"""What containers take on disk: for ``ls --size``, ``inspect --size``, ``df`` and ``prune``."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from nodeagent.control.parts import Parts
from nodeagent.errors import Missing, kind_of
from nodeagent.model.containerview import ContainerRow, ContainerView

T = TypeVar("T", ContainerRow, ContainerView)


class Sizes:
    """Measures writable layers; each is walked anew, so only those who ask pay for it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def writable(self, id_: str) -> int:
        """Bytes of the writable layer; 0 for a container that is gone."""
        try:
            return await self._parts.roots.used_bytes(id_)
        except Exception as exc:
            if kind_of(exc) != Missing.kind:
                raise
            return 0

    async def fill(self, found: Sequence[T]) -> list[T]:
        """The same, with ``size_rw`` and ``size_root_fs``."""
        return [await self._filled(each) for each in found]

    async def _filled(self, found: T) -> T:
        own = await self.writable(found.id)
        return msgspec.structs.replace(found, size_rw=own, size_root_fs=own + self._below(found.id))

    def _below(self, id_: str) -> int:
        """Bytes of the image's layers; 0 if either is gone."""
        record = self._parts.inventory.containers.get(id_)
        if record is None:
            return 0
        try:
            return self._parts.images.get(record.image_id).size_bytes
        except Exception as exc:
            if kind_of(exc) != Missing.kind:
                raise
            return 0

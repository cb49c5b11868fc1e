"""Limits and the restart policy of a container that is there, changed without a restart."""

from typing import Final

import msgspec

from nodeagent.control.containers import Containers
from nodeagent.control.creation import check_request
from nodeagent.control.parts import Parts
from nodeagent.control.starting import build_limits
from nodeagent.errors import Conflict, Invalid
from nodeagent.model.container import ContainerRecord
from nodeagent.model.containerrequest import ContainerCreate, LimitsChange, RestartPolicy

LIMITS: Final = LimitsChange.__struct_fields__


class Updater:
    """Use case of ``update``."""

    def __init__(self, parts: Parts, containers: Containers) -> None:
        self._parts = parts
        self._containers = containers

    async def update(
        self, name: str, limits: LimitsChange, restart_policy: RestartPolicy | None
    ) -> None:
        """Change what is given; the rest stays.

        The record comes first: an agent that dies before the kernel was told tells it at its start.

        Raises:
            Invalid: a limit that cannot be. Conflict: the container is being removed.
            Refused: the kernel said no; then nothing is changed.
        """
        async with self._containers.step(name) as record:
            if record.phase == "removing":
                raise Conflict("the container is being removed", field="name", name=name)
            request = _changed(record.request, limits, restart_policy)
            check_request(request)
            runs = record.phase == "running"
            changed = msgspec.structs.replace(record, request=request, limits_told=not runs)
            await self._parts.inventory.put(changed)
            if runs:
                await self._tell_kernel(record, changed, limits)
        self._parts.events.tell(record, "update")

    async def _tell_kernel(
        self, before: ContainerRecord, changed: ContainerRecord, limits: LimitsChange
    ) -> None:
        try:
            await self._parts.runtime.update(changed.id, build_limits(_only(limits)))
        except Exception:
            await self._parts.inventory.put(before)
            raise
        told = msgspec.structs.replace(changed, limits_told=True)
        await self._parts.inventory.put(told)


async def finish_update(parts: Parts, record: ContainerRecord) -> None:
    """At start: what was recorded, and perhaps not told to the kernel, is told again."""
    await parts.runtime.update(record.id, build_limits(record.request))
    told = parts.inventory.containers[record.id]
    await parts.inventory.put(msgspec.structs.replace(told, limits_told=True))


def _changed(
    request: ContainerCreate, limits: LimitsChange, policy: RestartPolicy | None
) -> ContainerCreate:
    given = {key: value for key in LIMITS if (value := getattr(limits, key)) is not None}
    if not given and policy is None:
        raise Invalid("nothing to change: give a limit or a restart policy", field="limits")
    if limits.storage_size_bytes is not None:
        _check_growth(request.storage_size_bytes, limits.storage_size_bytes)
    changed: ContainerCreate = msgspec.structs.replace(request, **given)
    if policy is not None:
        changed = msgspec.structs.replace(changed, restart_policy=policy)
    return changed


def _check_growth(before: int, after: int) -> None:
    if not before:
        raise Invalid(
            "the container was made without a size; only one that has one can grow",
            field="limits.storage_size_bytes",
        )
    if after < before:
        raise Invalid(
            "a writable layer cannot shrink", field="limits.storage_size_bytes", value=after,
            has_bytes=before,
        )  # fmt: skip


def _only(limits: LimitsChange) -> ContainerCreate:
    """A request of nothing but these limits."""
    given = {key: value for key in LIMITS if (value := getattr(limits, key)) is not None}
    return ContainerCreate(image="", **given)

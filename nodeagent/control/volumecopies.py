"""What is made of volumes: snapshots, clones, other names, and the removed ones that can come back.

All of it is two things drivers do: copy bytes as of a moment, and give bytes another name. The
wish is a record before either: a copy that was cut off is thrown away at the next start (its
caller never got it), a move is finished.
"""

import re
from collections.abc import Awaitable, Callable

import msgspec
import trio

from nodeagent.control.creation import check_name
from nodeagent.control.parts import Parts
from nodeagent.control.times import build_stamp, build_time
from nodeagent.control.volumes import Volumes
from nodeagent.control.volumeuse import spec
from nodeagent.errors import Busy, Conflict, Invalid
from nodeagent.model.volume import Pruned, VolumeCopied, VolumeRecord
from voldrivers.contract import SNAPSHOT_MARK, Ability

LABEL = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}")
AUTO = "auto-"  # begins the labels that a schedule gives
UNDO_S = 60.0  # to take back a copy that failed; a guess


class VolumeCopies:
    """Use cases of copies and moves of whole volumes."""

    def __init__(self, parts: Parts, volumes: Volumes) -> None:
        self._parts = parts
        self.volumes = volumes

    # --- copies ---------------------------------------------------------------------------------

    async def snapshot(
        self,
        name: str,
        label: str = "",
        *,
        auto: bool = False,
        quiet: Callable[[], Awaitable[None]] | None = None,
    ) -> VolumeCopied:
        """Keep what the volume is now as ``NAME@LABEL``; ``quiet`` is awaited just before."""
        source = self._source(name)
        label = label or (AUTO if auto else "") + build_stamp(self._parts.now())
        if not LABEL.fullmatch(label):
            raise Invalid(
                "invalid label: letters, digits, '_', '.', '-', at most 64",
                field="label",
                value=label,
            )
        target = msgspec.structs.replace(
            source,
            name=f"{source.name}{SNAPSHOT_MARK}{label}",
            kind="snapshot",
            origin=source.name,
            anonymous=False,
            schedule=None,
        )
        return await self._copy(source, target, quiet=quiet)

    async def clone(self, name: str, target: str) -> VolumeCopied:
        """A new volume with the bytes of a volume or snapshot."""
        check_name(target, field="target")
        source = self._source(name)
        return await self._copy(
            source,
            msgspec.structs.replace(
                source, name=target, kind="volume", origin=source.name, anonymous=False,
                expires="", schedule=None,
            ),
        )  # fmt: skip

    def _source(self, name: str) -> VolumeRecord:
        source = self._parts.inventory.volume(name)
        if source.phase != "ready":
            raise Conflict("the volume is not ready", field="name", name=name, phase=source.phase)
        for each in self._parts.inventory.volumes.values():
            if each.phase == "moving" and each.moved_from == name:
                raise Busy("the volume gets another name", field="name", name=name, new=each.name)
        return source

    async def _copy(
        self,
        source: VolumeRecord,
        target: VolumeRecord,
        *,
        quiet: Callable[[], Awaitable[None]] | None = None,
    ) -> VolumeCopied:
        self._need(source, "clone")
        if target.name in self._parts.inventory.volumes:
            raise Conflict("there is a volume of this name", field="target", name=target.name)
        target = msgspec.structs.replace(
            target, phase="copying", created=build_time(self._parts.now())
        )
        async with self.volumes.use.turn(source.name):
            self._source(source.name)  # it may have got another name meanwhile
            await self._parts.inventory.put(target)
            try:
                if quiet:
                    await quiet()
                driver = self.volumes.driver(source)
                method = await driver.clone(spec(source), spec(target))
            except BaseException:
                with trio.move_on_after(UNDO_S, shield=True):
                    await self.volumes.finish_rm(target)
                raise
            target = msgspec.structs.replace(target, phase="ready")
            await self._parts.inventory.put(target)
        self._tell(target, "snapshot" if target.kind == "snapshot" else "clone", of=source.name)
        return VolumeCopied(name=target.name, of=source.name, method=method)

    def _need(self, record: VolumeRecord, ability: Ability) -> None:
        if ability not in self.volumes.abilities(record):
            raise Invalid(
                f"this volume cannot {ability}: its bytes are not in this agent's keeping, or its"
                " driver does not know how",
                field="name",
                name=record.name,
                driver=record.driver,
            )

    def _tell(self, record: VolumeRecord, action: str, **attributes: str) -> None:
        self._parts.events.publish("volume", action, record.name, record.name, **attributes)

    # --- back -----------------------------------------------------------------------------------

    async def restore(self, name: str) -> VolumeCopied:
        """Let the volume be again what a snapshot kept, or bring a removed one back.

        What the volume was before is kept as a removed one. The name of a volume that was removed
        means the last that had it.

        Raises:
            Busy: somebody uses the volume. Conflict: its name has been taken.
        """
        source = self._source(self._last_removed(name) or name)
        if source.kind == "removed":
            back = msgspec.structs.replace(
                source, name=source.origin, kind="volume", origin="", expires=""
            )
            await self._move(source, back)
            self._tell(back, "restore", of=source.name)
            return VolumeCopied(name=back.name, of=source.name, method="rename")
        if source.kind != "snapshot":
            raise Invalid(
                "only a snapshot or a removed volume is restored: NAME@LABEL",
                field="name",
                value=name,
            )
        return await self._roll_back(source)

    def _last_removed(self, name: str) -> str:
        """Of a name that no volume has now: the removed one that had it last, or ""."""
        volumes = self._parts.inventory.volumes
        if name in volumes:
            return ""
        found = [each for each in volumes.values() if (each.kind, each.origin) == ("removed", name)]
        return max(found, key=lambda each: each.expires).name if found else ""

    async def _roll_back(self, snapshot: VolumeRecord) -> VolumeCopied:
        volume = self._parts.inventory.volume(snapshot.origin)
        self._need(volume, "rename")
        if _kind(volume) != _kind(snapshot):
            raise Conflict(
                "the volume of this name is not the one the snapshot was made of; clone the"
                " snapshot instead",
                field="name",
                name=volume.name,
                driver=volume.driver,
            )
        self._check_idle(volume)
        kept = self._removed(volume, of=volume.name)
        copied = await self._copy(snapshot, kept)
        try:
            # from here on ``kept`` is what the volume was
            await self.install(kept, volume, replace=True)
        except BaseException:
            with trio.move_on_after(UNDO_S, shield=True):
                await self.give_up(kept)
            raise
        self._tell(volume, "restore", of=snapshot.name, kept_as=kept.name)
        return VolumeCopied(name=volume.name, of=snapshot.name, method=copied.method)

    def _check_idle(self, volume: VolumeRecord) -> None:
        leases = self._parts.leases.book(volume.name).leases
        if leases:
            raise Busy(
                "the volume is mounted; stop who uses it first",
                field="name",
                name=volume.name,
                by=[each.holder[:12] for each in leases],
            )

    def _removed(self, record: VolumeRecord, *, of: str) -> VolumeRecord:
        now = self._parts.now()
        taken = self._parts.inventory.volumes
        label, n = f"removed-{build_stamp(now)}", 1
        while f"{of}{SNAPSHOT_MARK}{label}" in taken:
            n += 1
            label = f"removed-{build_stamp(now)}-{n}"
        return msgspec.structs.replace(
            record,
            name=f"{of}{SNAPSHOT_MARK}{label}",
            kind="removed",
            origin=of,
            expires=build_time(now + self._parts.settings.volume_retention_s),
            schedule=None,
        )

    # --- from elsewhere -------------------------------------------------------------------------

    def draft(self, wanted: VolumeRecord) -> VolumeRecord:
        """A record for bytes that will be ``wanted``'s once they are whole and checked."""
        return msgspec.structs.replace(
            self._removed(wanted, of=wanted.name), phase="copying", anonymous=False
        )

    async def install(self, draft: VolumeRecord, wanted: VolumeRecord, *, replace: bool) -> None:
        """Let the draft's bytes be the volume's; with ``replace`` what it had is kept."""
        self._need(wanted, "rename")
        draft = msgspec.structs.replace(draft, phase="ready")
        await self._parts.inventory.put(draft)
        if not replace:
            await self._move(draft, wanted)
            return
        async with self.volumes.use.turn(wanted.name):
            self._check_idle(wanted)
            await self.volumes.driver(wanted).swap(spec(wanted), draft.name)

    async def give_up(self, draft: VolumeRecord) -> None:
        """Take a draft away, unless it has become something."""
        known = self._parts.inventory.volumes.get(draft.name)
        if known is not None and known.phase in {"copying", "ready"}:
            await self.volumes.finish_rm(known)

    # --- other names ----------------------------------------------------------------------------

    async def rm(self, name: str, *, force: bool, now: bool) -> str:
        """Remove a volume: it is kept for a while under another name, which is returned.

        "" where nothing is kept: with ``now``, without retention, of anonymous volumes, snapshots
        and removed ones, and if the driver cannot rename.
        """
        record = self._parts.inventory.volumes.get(name)
        if record is None or now or not self._is_kept(record):
            await self.volumes.rm(name, force=force)
            return ""
        await self.volumes.check_free(record)
        kept = self._removed(record, of=record.name)
        await self._move(record, kept)
        await self._parts.leases.forget(record.name)
        self._tell(record, "destroy", driver=record.driver, kept_as=kept.name)
        return kept.name

    def _is_kept(self, record: VolumeRecord) -> bool:
        return (
            self._parts.settings.volume_retention_s > 0
            and record.kind == "volume"
            and not record.anonymous
            and record.phase == "ready"
            and "rename" in self.volumes.abilities(record)
        )

    async def prune(self, *, everything: bool, now: bool) -> Pruned:
        """Remove volumes that nobody uses: anonymous ones, or all; those with a name are kept."""

        async def remove(record: VolumeRecord) -> str:
            return await self.rm(record.name, force=True, now=now)

        return await self.volumes.prune(everything=everything, remove=remove)

    async def rename(self, name: str, new: str) -> None:
        """Give a volume that no container refers to another name; its snapshots follow.

        Raises:
            Busy: a container refers to it, or a snapshot of it is being made or removed.
        """
        check_name(new, field="new")
        record = self._source(name)
        if record.kind != "volume":
            raise Invalid("only a volume is renamed; see restore", field="name", value=name)
        self._need(record, "rename")
        await self.volumes.check_free(record)
        async with self.volumes.use.turn(name):
            moves = [
                _moving(each, f"{new}{each.name.removeprefix(name)}", origin=new)
                for each in self._snapshots(self._source(name))
            ]
            moves.insert(0, _moving(record, new, origin=record.origin))
            self._check_new([each.name for each in moves])
            await self._parts.inventory.put(*moves)
        await self._finish_moves(moves)
        self._tell(record, "rename", to=new)

    def _snapshots(self, volume: VolumeRecord) -> list[VolumeRecord]:
        found = [
            each
            for each in self._parts.inventory.volumes.values()
            if (each.kind, each.origin) == ("snapshot", volume.name)
        ]
        for each in found:
            if each.phase != "ready":
                raise Busy(
                    "a snapshot of the volume is being made or removed; try again",
                    field="name",
                    name=each.name,
                )
        return found

    def _check_new(self, names: list[str]) -> None:
        for name in names:
            if name in self._parts.inventory.volumes:
                raise Conflict("there is a volume of this name", field="name", name=name)

    async def _finish_moves(self, moves: list[VolumeRecord]) -> None:
        """All of them, or none if the first cannot be."""
        first, *others = moves
        try:
            await self.finish_move(first)
        except Exception:
            for each in others:
                await self._parts.inventory.delete(each)
            raise
        for each in others:
            await self.finish_move(each)

    async def _move(self, record: VolumeRecord, moved: VolumeRecord) -> None:
        self._check_new([moved.name])
        moved = msgspec.structs.replace(moved, phase="moving", moved_from=record.name)
        await self._parts.inventory.put(moved)
        await self.finish_move(moved)

    async def finish_move(self, moved: VolumeRecord) -> None:
        """Move, from the intent on; also used at start."""
        old = self._parts.inventory.volumes.get(moved.moved_from)
        if old is not None:
            async with self.volumes.use.turn(old.name):
                try:
                    await self.volumes.driver(old).rename(spec(old), moved.name)
                except Exception:
                    await self._parts.inventory.delete(moved)
                    raise
                await self._parts.inventory.delete(old)
        ready = msgspec.structs.replace(moved, phase="ready", moved_from="")
        await self._parts.inventory.put(ready)

    async def settle(self, record: VolumeRecord) -> None:
        """At start: bring what was cut off to its end, or take it away."""
        if record.phase == "moving":
            await self.finish_move(record)
        elif record.phase == "copying":
            await self.volumes.finish_rm(record)
        else:
            await self.volumes.settle(record)


def _moving(record: VolumeRecord, name: str, *, origin: str) -> VolumeRecord:
    """The intent to give a record another name."""
    return msgspec.structs.replace(
        record, name=name, origin=origin, phase="moving", moved_from=record.name
    )


def _kind(record: VolumeRecord) -> tuple[str, dict[str, str]]:
    """What bytes of one volume and of another must have in common to change places."""
    return record.driver, {key: text for key, text in record.options.items() if key != "size"}

"""What the agent does before it serves: make records, processes, mounts and kernel agree."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import trio

from nodeagent.control import etcdir
from nodeagent.control.lifecycle import UNKNOWN_EXIT, Lifecycle
from nodeagent.control.networks import Networks
from nodeagent.control.parts import Parts
from nodeagent.control.repair import Repairer
from nodeagent.control.restart import goes_at_end, wants_start
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.control.times import build_time
from nodeagent.control.updating import finish_update
from nodeagent.control.volumecopies import VolumeCopies
from nodeagent.model.container import ContainerRecord
from nodeagent.model.volume import VolumeRecord
from runtime.contract.container import Exit, Found

log = logging.getLogger(__name__)

LATE_S = (1.0, 60.0)  # between tries to adopt: the first time, and at most
VOLUMES_S = 5.0  # what a start waits for volume drivers at most; a guess


class Startup:
    """Convergence after a start, whatever the end before was like."""

    def __init__(
        self,
        parts: Parts,
        sandboxes: Sandboxes,
        lifecycle: Lifecycle,
        networks: Networks,
        copies: VolumeCopies,
        repairer: Repairer,
    ) -> None:
        self._parts = parts
        self._sandboxes = sandboxes
        self._lifecycle = lifecycle
        self._networks = networks
        self._copies = copies
        self._repairer = repairer
        self._unadopted: dict[str, Found] = {}  # what runs, and is tried again

    async def run(self) -> None:
        """Adopt what runs, finish or undo what was half-done, remove what is ours and unwanted."""
        await self._parts.images.open()
        for driver in self._parts.volume_drivers.all():
            with _one_at_a_time("clean volumes", driver.name):
                await driver.clean()
        found = {each.id: each for each in await self._parts.runtime.scan()}
        ended: list[tuple[ContainerRecord, Exit]] = []
        for record in list(self._parts.inventory.containers.values()):
            exit_ = await self._try_settle(record, found.get(record.id))
            if exit_ is not None:
                ended.append((self._parts.inventory.containers[record.id], exit_))
        await self._copies.volumes.use.adopt()
        await self._remove_strays(found)
        with _one_at_a_time("repair networks", ""):
            await self._repair()
        self._sandboxes.publish_names()
        for record, exit_ in ended:
            with _one_at_a_time("record exit", record.id):
                await self._lifecycle.finish(record, exit_)
        await self._finish_removals()
        await self._networks.finish_half_done()
        with _one_at_a_time("make the default network", ""):
            await self._networks.ensure_predefined()

    async def _repair(self) -> None:
        drift = await self._repairer.repair()
        for conflict in drift.conflicts:
            log.warning("conflict", extra={"what": conflict})

    async def _try_settle(self, record: ContainerRecord, found: Found | None) -> Exit | None:
        """The same, but what fails is logged; what runs and was not adopted is shown as such."""
        try:
            return await self._settle(record, found)
        except Exception as exc:
            log.exception("start-up step failed", extra={"step": "settle", "id": record.id})
            if found is not None and found.state in {"running", "paused"}:
                self._unadopted[record.id] = found
                self._show_unadopted(record.id, str(exc))
            return None

    def _show_unadopted(self, id_: str, why: str) -> None:
        """In memory only: the next start tries by itself, and the disk may be what failed."""
        containers = self._parts.inventory.containers
        record = msgspec.structs.replace(containers[id_], error=f"not adopted, tried again: {why}")
        containers[id_] = record
        self._parts.events.tell(record, "unadopted", error=why)

    async def _adopt_late(self, id_: str, found: Found) -> None:
        """Until it is adopted, or somebody else has done something about it."""
        wait_s = LATE_S[0]
        while id_ in self._unadopted:
            await trio.sleep(wait_s)
            wait_s = min(2 * wait_s, LATE_S[1])
            record = self._parts.inventory.containers.get(id_)
            if record is None or record.phase not in {"running", "starting"}:
                del self._unadopted[id_]
                return
            try:
                await self._adopt(record, found)
            except Exception as exc:
                log.exception("adopt container", extra={"id": id_[:12]})
                self._show_unadopted(id_, str(exc))
            else:
                del self._unadopted[id_]
                self._sandboxes.publish_names()

    async def _settle(self, record: ContainerRecord, found: Found | None) -> Exit | None:
        """Bring one record in line with what was found; an exit that is still to be recorded."""
        is_up = record.phase in {"running", "starting"}
        if found is not None and found.state in {"running", "paused"} and is_up:
            await self._adopt(record, found)
            return None
        if is_up and found is not None and found.exit is not None:
            if record.phase == "starting":
                now = build_time(found.exit.finished_at)
                record = msgspec.structs.replace(record, started_at=now)
            await self._parts.inventory.put(msgspec.structs.replace(record, phase="running"))
            return found.exit
        if record.phase == "running":
            return Exit(code=UNKNOWN_EXIT, finished_at=self._parts.now())
        if record.phase == "starting":
            await self._undo(record)
        elif found is not None:
            await self._parts.runtime.delete(record.id)
        return None

    async def _adopt(self, record: ContainerRecord, found: Found) -> None:
        """Take over what runs. It is watched first: its end counts whatever its network is like."""
        if record.phase == "starting":
            record = msgspec.structs.replace(record, started_at=build_time(self._parts.now()))
        # by hand is an end only if the stop is still under way
        by_hand = bool(record.ending)
        record = msgspec.structs.replace(record, phase="running", stopped_by_hand=by_hand, error="")
        if record != self._parts.inventory.containers[record.id]:
            await self._parts.inventory.put(record)
        pid = found.process.pid if found.process else 0
        if not self._lifecycle.is_watched(record.id):  # an adoption may have failed after it
            self._lifecycle.watch(record, pid)
        if found.state == "paused":
            self._lifecycle.note_paused(record.id)
            await self._thaw(record)
        if not record.limits_told:
            await finish_update(self._parts, record)
        await self._sandboxes.adopt(record)
        log.info("container adopted", extra={"id": record.id[:12], "pid": pid})

    async def _thaw(self, record: ContainerRecord) -> None:
        """A commit was cut off: what it had frozen goes on."""
        if record.frozen_by_us:
            await self._lifecycle.unpause(record.id)
            still = self._parts.inventory.containers[record.id]
            await self._parts.inventory.put(msgspec.structs.replace(still, frozen_by_us=False))

    async def _undo(self, record: ContainerRecord) -> None:
        """The start had not come to the program: back to what it was."""
        is_over = record.finished_at or record.request.auto_remove
        before = "exited" if is_over else "created"
        await self._parts.runtime.delete(record.id)
        await self._parts.inventory.put(
            msgspec.structs.replace(
                record, phase=before, ports=[], error="the agent ended while it was starting"
            )
        )
        log.warning("start undone", extra={"id": record.id[:12]})

    async def _remove_strays(self, found: dict[str, Found]) -> None:
        """Processes, directories and mounts of no record, and mounts of what does not run."""
        known = self._parts.inventory.containers
        for id_ in found.keys() - known.keys():
            with _one_at_a_time("remove stray", id_):
                await self._parts.runtime.delete(id_)
                await self._parts.runtime.logbook.remove(id_)
        parts = self._parts
        for kept in (parts.part_mounts, parts.shared_memory, parts.mapped_mounts):
            for id_ in await kept.ls():
                with _one_at_a_time("unmount what a container had", id_):
                    if id_ not in known or known[id_].phase != "running":
                        await kept.close(id_)
        for id_ in await self._parts.roots.ls():
            with _one_at_a_time("remove stray root", id_):
                if id_ not in known:
                    etcdir.remove(self._parts.settings, id_)
                    await self._parts.roots.remove(id_)
                elif known[id_].phase != "running":
                    await self._parts.roots.unmount(id_)

    async def _finish_removals(self) -> None:
        for record in list(self._parts.inventory.containers.values()):
            if record.phase == "removing":
                with _one_at_a_time("finish removal", record.id):
                    await self._lifecycle.finish_rm(record)
            elif record.phase == "exited" and goes_at_end(record):
                with _one_at_a_time("remove at its end", record.id):
                    await self._lifecycle.rm(record.id, force=False, volumes=True)
        with trio.move_on_after(VOLUMES_S):  # drivers may hang; who waits for them does so later
            await self._settle_volumes()

    async def _settle_volumes(self) -> None:
        async with trio.open_nursery() as nursery:
            for volume in self._parts.inventory.volumes.values():
                nursery.start_soon(self._settle_volume, volume)

    async def _settle_volume(self, volume: VolumeRecord) -> None:
        with _one_at_a_time("settle volume", volume.name):
            await self._copies.settle(volume)

    async def start_by_policy(self) -> None:
        """Start what its restart policy wants up; failures are logged, the others go on.

        Those that share another container's network come after it. A stop or restart that the
        agent before could not bring to its end is brought there.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._settle_volumes)
            for id_, found in self._unadopted.items():
                nursery.start_soon(self._adopt_late, id_, found)
            for record in list(self._parts.inventory.containers.values()):
                if record.ending and record.phase in {"running", "exited"}:
                    nursery.start_soon(self._end, record)
            await self._start_by_policy()

    async def _end(self, record: ContainerRecord) -> None:
        with _one_at_a_time("finish a stop", record.id):
            if record.ending == "up":
                await self._lifecycle.restart(record.id, timeout_s=None, signal="")
            else:
                await self._lifecycle.stop(record.id, timeout_s=None, signal="")

    async def _start_by_policy(self) -> None:
        records = [each for each in self._parts.inventory.containers.values() if not each.ending]
        for record in sorted(records, key=lambda each: each.network_mode.startswith("container:")):
            if record.phase == "exited" and wants_start(record):
                with _one_at_a_time("start by policy", record.id):
                    await self._lifecycle.start(record.id, by_policy=True)


@contextmanager
def _one_at_a_time(doing: str, id_: str) -> Iterator[None]:
    """One broken object is logged and left for the next repair; the others go on."""
    try:
        yield
    except Exception:
        log.exception("start-up step failed", extra={"step": doing, "id": id_[:64]})

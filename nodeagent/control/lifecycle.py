"""The life of a container: start, end, stop, kill, remove. One step at a time per container."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import trio

from nodeagent.control import etcdir
from nodeagent.control.containers import Containers
from nodeagent.control.parts import Parts
from nodeagent.control.restart import next_delay_s, wants_restart
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.control.signals import parse_signal
from nodeagent.control.starting import Starter
from nodeagent.control.times import build_time, parse_time
from nodeagent.control.volumes import Volumes
from nodeagent.errors import Busy, Conflict, fields_of, kind_of
from nodeagent.model.container import ContainerRecord
from nodeagent.model.volume import Pruned, VolumeRecord
from runtime.contract import Exit

log = logging.getLogger(__name__)

CLEAN_S = 30.0  # for taking a container's remains away; a guess
KILL_S = 10.0  # a killed process that is not gone by then is stuck in the kernel; a guess


class _Life:
    """What is in memory about one container: its lock, and who waits for its end."""

    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.ended = trio.Event()  # of the present run
        self.removed = trio.Event()
        self.last: ContainerRecord | None = None  # as it was when its present run ended
        self.pid = 0
        self.paused = False
        self.delay_s = 0.0  # of the last restart by policy
        self.restarting: trio.CancelScope | None = None  # while it waits for its next start


class Lifecycle:
    """Use cases that change what runs."""

    def __init__(
        self,
        parts: Parts,
        sandboxes: Sandboxes,
        containers: Containers,
        volumes: Volumes,
        nursery: trio.Nursery,
        at_gate: Callable[[str], Awaitable[None]],
    ) -> None:
        self._parts = parts
        self._sandboxes = sandboxes
        self._containers = containers
        self._volumes = volumes
        self._nursery = nursery
        self._starter = Starter(parts, sandboxes, volumes, at_gate)
        self._lives: dict[str, _Life] = {}
        containers.is_restarting = self.is_restarting
        containers.is_paused = lambda id_: self._life(id_).paused
        containers.pid_of = lambda id_: self._life(id_).pid

    def _life(self, id_: str) -> _Life:
        return self._lives.setdefault(id_, _Life())

    def _find(self, name: str) -> ContainerRecord:
        return self._parts.inventory.container(name)

    async def _put(self, record: ContainerRecord, **changes: object) -> ContainerRecord:
        changed: ContainerRecord = msgspec.structs.replace(record, **changes)
        await self._parts.inventory.put(changed)
        return changed

    def _tell(self, record: ContainerRecord, action: str, **attributes: str) -> None:
        self._parts.events.publish(
            "container", action, record.id, record.name, image=record.image_name, **attributes
        )

    # --- start --------------------------------------------------------------------------------

    async def start(self, name: str) -> None:
        """Run a created or exited container; starting a running one is no error."""
        id_ = self._find(name).id
        life = self._life(id_)
        async with life.lock:
            record = self._find(id_)
            if record.phase == "running":
                return
            if record.phase == "removing":
                raise Conflict("the container is being removed", field="name", name=name)
            self._give_up_restart(life)
            await self._start(msgspec.structs.replace(record, restart_count=0), life)

    async def _start(self, record: ContainerRecord, life: _Life) -> None:
        before = record
        life.ended, life.last = trio.Event(), None
        bound = self._sandboxes.bind_ports(record)
        try:
            record = await self._put(
                record, phase="starting", ports=bound, error="", stopped_by_hand=False
            )
            process = await self._starter.run(record)
            record = await self._put(
                self._find(record.id), phase="running", exit_code=0, oom_killed=False,
                started_at=build_time(self._parts.now()), finished_at="",
            )  # fmt: skip
        except BaseException as exc:
            with trio.move_on_after(CLEAN_S, shield=True):
                self._sandboxes.release_ports(bound)
                await self._undo_start(before, record, exc)
            life.last = before
            life.ended.set()
            raise
        self.watch(record, process.pid)
        self._tell(record, "start")

    async def _undo_start(
        self, before: ContainerRecord, record: ContainerRecord, exc: BaseException
    ) -> None:
        try:
            await self._starter.clean(record)
        except* Exception as group:
            # the first error is what the caller must hear; the next repair tries this again
            log.exception("undo of a start", extra={"id": record.id[:12]}, exc_info=group)
        code = fields_of(exc).get("exit_code", 128) if isinstance(exc, Exception) else 0
        if before.request.auto_remove:
            await self._remove(before, volumes=True)
        else:
            await self._put(before, error=str(exc), exit_code=code, ports=[])

    def watch(self, record: ContainerRecord, pid: int) -> None:
        """Wait for the end of a running container in the background."""
        life = self._life(record.id)
        life.pid, life.paused = pid, False
        self._nursery.start_soon(self._watch, record.id)

    async def _watch(self, id_: str) -> None:
        exit_ = await self._parts.runtime.wait_exit(id_)
        life = self._life(id_)
        async with life.lock:
            record = self._parts.inventory.containers.get(id_)
            if record is None or record.phase != "running":
                return
            record = await self.finish(record, exit_)
        if wants_restart(record):
            await self._restart_later(record, life)

    async def _restart_later(self, record: ContainerRecord, life: _Life) -> None:
        """Start again after the back-off, unless somebody stopped, started or removed it."""
        ran_s = parse_time(record.finished_at) - parse_time(record.started_at)
        life.delay_s = next_delay_s(life.delay_s, ran_s=ran_s)
        life.restarting = scope = trio.CancelScope()
        with scope:
            await trio.sleep(life.delay_s)
        async with life.lock:
            life.restarting = None
            current = self._parts.inventory.containers.get(record.id)
            if scope.cancelled_caught or current is None or current.phase != "exited":
                return
            current = await self._put(current, restart_count=current.restart_count + 1)
            try:
                await self._start(current, life)
            except Exception:
                log.exception("restart by policy", extra={"id": record.id})

    def is_restarting(self, id_: str) -> bool:
        """Whether the container is down for its back-off only."""
        return self._life(id_).restarting is not None

    def _give_up_restart(self, life: _Life) -> None:
        if life.restarting is not None:
            life.restarting.cancel()

    async def finish(self, record: ContainerRecord, exit_: Exit) -> ContainerRecord:
        """Record an exit and take away what only a running container needs.

        The end is told to waiters even when the clean-up fails: the next start of the container
        or of the agent repeats it.
        """
        life = self._life(record.id)
        self._sandboxes.hide(record.id)
        record = await self._put(
            self._find(record.id), phase="exited", exit_code=exit_.code,
            oom_killed=exit_.oom_killed, finished_at=build_time(exit_.finished_at),
        )  # fmt: skip
        life.pid, life.paused, life.last = 0, False, record
        if exit_.oom_killed:
            self._tell(record, "oom")
        self._tell(record, "die", exitCode=str(exit_.code))
        try:
            await self._starter.clean(record)
        except* Exception as group:
            log.exception("clean up after exit", extra={"id": record.id}, exc_info=group)
        record = await self._put(self._find(record.id), ports=[])
        if record.request.auto_remove:
            await self._remove(record, volumes=True)
        life.ended.set()
        return record

    # --- stop ---------------------------------------------------------------------------------

    async def stop(self, name: str, *, timeout_s: int | None, signal: str) -> None:
        """Stop signal, then KILL after the grace time; a container that is down is no error."""
        record = self._find(name)
        number = parse_signal(signal or record.stop_signal, field="signal")
        async with self._life(record.id).lock:
            record = self._find(record.id)
            self._give_up_restart(self._life(record.id))
            if record.phase != "running":
                return
            record = await self._put(record, stopped_by_hand=True)
            ended = self._life(record.id).ended
        await self._send(record, number)
        grace = record.request.stop_timeout_s if timeout_s is None else timeout_s
        with trio.move_on_after(grace) if grace >= 0 else trio.CancelScope():
            await ended.wait()
        if not ended.is_set():
            await self._send(record, 9)
            await self._wait_killed(record, ended)
        self._tell(record, "stop")

    async def _wait_killed(self, record: ContainerRecord, ended: trio.Event) -> None:
        with trio.move_on_after(KILL_S):
            await ended.wait()
        if not ended.is_set():
            raise Busy("the container does not end: the kernel holds its process", id=record.id)

    async def _send(self, record: ContainerRecord, number: int) -> None:
        """Signal the first process; that it is gone already is what was wanted."""
        if self._life(record.id).paused and number == 9:
            await self._parts.runtime.unpause(record.id)
        try:
            await self._parts.runtime.kill(record.id, number)
        except Exception as exc:
            if kind_of(exc) != "missing":
                raise

    async def kill(self, name: str, signal: str) -> None:
        """Send a signal; the container must run."""
        record = self._running(name)
        number = parse_signal(signal, field="signal")
        if number == 9 or number == parse_signal(record.stop_signal, field="stop_signal"):
            async with self._life(record.id).lock:
                record = await self._put(self._find(record.id), stopped_by_hand=True)
        await self._send(record, number)
        self._tell(record, "kill", signal=str(number))

    def _running(self, name: str) -> ContainerRecord:
        record = self._find(name)
        if record.phase != "running":
            raise Conflict("the container does not run", field="name", name=record.name)
        return record

    async def restart(self, name: str, *, timeout_s: int | None, signal: str) -> None:
        """Stop and start; goes on when the caller hangs up, so that it is not left stopped."""
        with trio.CancelScope(shield=True):
            await self.stop(name, timeout_s=timeout_s, signal=signal)
            await self.start(name)
        self._tell(self._find(name), "restart")

    async def pause(self, name: str) -> None:
        """Freeze all processes."""
        record = self._running(name)
        await self._parts.runtime.pause(record.id)
        self._life(record.id).paused = True
        self._tell(record, "pause")

    async def unpause(self, name: str) -> None:
        """Thaw them."""
        record = self._running(name)
        await self._parts.runtime.unpause(record.id)
        self._life(record.id).paused = False
        self._tell(record, "unpause")

    def note_paused(self, id_: str) -> None:
        """At start: the container was found frozen."""
        self._life(id_).paused = True

    # --- remove -------------------------------------------------------------------------------

    async def rm(self, name: str, *, force: bool, volumes: bool) -> None:
        """Remove a container; ``force`` kills it first; ``volumes``: its anonymous ones too."""
        id_ = self._find(name).id
        if self._find(id_).phase == "running":
            if not force:
                raise Conflict(
                    "the container runs; stop it first or use force", field="name", name=name
                )
            await self._kill_for_rm(id_)
        async with self._life(id_).lock:
            record = self._parts.inventory.containers.get(id_)
            if record is not None:
                self._give_up_restart(self._life(id_))
                await self._remove(record, volumes=volumes)

    async def _kill_for_rm(self, id_: str) -> None:
        life = self._life(id_)
        async with life.lock:
            record = self._parts.inventory.containers.get(id_)
            if record is None or record.phase != "running":
                return
            record = await self._put(record, stopped_by_hand=True)
            ended = life.ended
        await self._send(record, 9)
        await self._wait_killed(record, ended)

    async def _remove(self, record: ContainerRecord, *, volumes: bool) -> None:
        """Intent, then all remains, then the record. Shielded: half a removal helps nobody."""
        anonymous = self._own_anonymous(record) if volumes else []
        leaving = [msgspec.structs.replace(each, phase="removing") for each in anonymous]
        with trio.move_on_after(CLEAN_S, shield=True):
            record = msgspec.structs.replace(record, phase="removing")
            await self._parts.inventory.put(record, *leaving)
            await self.finish_rm(record)
            for volume in leaving:
                await self._volumes.finish_rm(volume)

    def _own_anonymous(self, record: ContainerRecord) -> list[VolumeRecord]:
        """Anonymous volumes that nobody else uses."""
        inventory = self._parts.inventory
        names = [mount.name for mount in record.mounts if mount.anonymous]
        return [
            inventory.volumes[name]
            for name in names
            if name in inventory.volumes and inventory.volume_users(name) == [record.name]
        ]

    async def finish_rm(self, record: ContainerRecord) -> None:
        """Removal from the intent on; also used at start."""
        await self._starter.clean(record)
        etcdir.remove(self._parts.settings, record.id)
        await self._parts.runtime.remove_logs(record.id)
        await self._parts.roots.remove(record.id)
        await self._parts.inventory.delete(record)
        life = self._lives.pop(record.id, None)
        if life is not None:
            life.removed.set()
        self._tell(record, "destroy")

    async def prune(self) -> Pruned:
        """Remove all containers that do not run."""
        deleted = []
        for record in list(self._parts.inventory.containers.values()):
            if record.phase in {"created", "exited"}:
                await self.rm(record.id, force=False, volumes=False)
                deleted.append(record.id)
        return Pruned(deleted=deleted, space_reclaimed=0)

    # --- wait ---------------------------------------------------------------------------------

    async def wait(self, name: str, condition: str) -> tuple[int, str]:
        """(exit code, error) once the condition holds: not-running, next-exit or removed."""
        record = self._find(name)
        life = self._life(record.id)
        if condition == "removed":
            await life.removed.wait()
        elif condition == "next-exit" or record.phase in {"running", "starting"}:
            await life.ended.wait()
        last = life.last or record
        return last.exit_code, last.error

    # --- for others that change a container ----------------------------------------------------

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[ContainerRecord]:
        """Have the container for one step of a change: nothing else happens to it meanwhile."""
        id_ = self._find(name).id
        async with self._life(id_).lock:
            yield self._find(id_)

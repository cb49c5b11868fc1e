"""The life of a container: start, end, stop, kill, remove. One step at a time per container."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import trio

from nodeagent.control import etcdir
from nodeagent.control.checkups import Checkups
from nodeagent.control.containers import Containers
from nodeagent.control.health import is_ready
from nodeagent.control.lives import Life, Lives, finish_in
from nodeagent.control.parts import Parts
from nodeagent.control.restart import goes_at_end
from nodeagent.control.restarting import Restarter
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.control.signalling import KILL, Signaller, check_runs
from nodeagent.control.signals import parse_signal
from nodeagent.control.starting import Starter
from nodeagent.control.times import build_time
from nodeagent.control.volumes import Volumes
from nodeagent.errors import Busy, Conflict, fields_of, kind_of
from nodeagent.model.container import ContainerRecord
from runtime.contract.container import Exit

log = logging.getLogger(__name__)

CLEAN_S = 30.0  # for taking a container's remains away; a guess
RETRY_S = 5.0  # until an exit that could not be recorded is tried again; a guess
UNKNOWN_EXIT = 255  # the exit status is lost: the host restarted, or conmon was killed


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
        self._starter = Starter(parts, sandboxes, volumes.use, at_gate)
        self._lives = Lives()
        self._restarter = Restarter(parts, self._start)
        self._signaller = Signaller(parts, self._lives)
        acts = (("restart", self.restart), ("stop", self.stop))
        actions = {name: partial(act, timeout_s=None, signal="") for name, act in acts}
        self._checkups = Checkups(parts, sandboxes, self._lives, nursery, actions)
        self.probe_counts = self._checkups.counts
        self.end_counts = {"succeeded": 0, "failed": 0, "oom": 0}
        self.ship_rest: Callable[[ContainerRecord], Awaitable[None]] = _nothing_to_ship
        self.is_restarting = self._lives.is_restarting
        containers.is_restarting = self._lives.is_restarting
        containers.try_at = self._lives.try_at
        containers.is_paused = self._lives.is_paused
        containers.health_of = self._lives.health
        containers.pid_of = self._lives.pid
        volumes.use.pid_of = self._lives.pid
        containers.step = self.step

    def _find(self, name: str) -> ContainerRecord:
        return self._parts.inventory.container(name)

    async def _put(self, record: ContainerRecord, **changes: object) -> ContainerRecord:
        changed: ContainerRecord = msgspec.structs.replace(record, **changes)
        await self._parts.inventory.put(changed)
        return changed

    def _tell(self, record: ContainerRecord, action: str, **attributes: str) -> None:
        self._parts.events.tell(record, action, **attributes)

    # --- start --------------------------------------------------------------------------------

    async def start(self, name: str, *, by_policy: bool = False) -> None:
        """Run a container, unless it runs; by hand all tries of its policy are before it again."""
        id_ = self._find(name).id
        life = self._lives.of(id_)
        async with life.lock:
            record = self._find(id_)
            if record.phase == "running":
                return
            if record.phase == "removing":
                raise Conflict("the container is being removed", field="name", name=name)
            life.give_up_restart()
            life.delay_s = 0.0
            count = record.restart_count + 1 if by_policy else 0
            by_hand = record.stopped_by_hand and not by_policy
            record = msgspec.structs.replace(
                record, restart_count=count, ending="", stopped_by_hand=by_hand
            )
            try:
                await self._start(record, life)
            except Exception:
                if by_policy:
                    self._nursery.start_soon(self._restarter.run, id_, life)
                raise

    async def _start(self, before: ContainerRecord, life: Life) -> None:
        life.begin()
        try:
            bound = await self._sandboxes.ports.bind(before)
            record = await self._put(
                before, phase="starting", ports=bound, error="", stopped_by_hand=False,
                was_healthy=False,
            )  # fmt: skip
            self._sandboxes.set_ready(record.id, is_ready(record))
            process = await self._starter.run(record)
            record = await self._put(
                self._find(record.id), phase="running", exit_code=0, oom_killed=False,
                started_at=build_time(self._parts.now()), finished_at="",
            )  # fmt: skip
        except BaseException as exc:
            with trio.move_on_after(CLEAN_S, shield=True):
                await self._undo_start(_failed(before, exc), life)
            raise
        self.watch(record, process.pid)
        self._tell(record, "start")

    async def _undo_start(self, failed: ContainerRecord, life: Life) -> None:
        try:
            await self._clean(failed)
            if failed.request.auto_remove:
                await self._remove(failed, volumes=True)
            else:
                await self._parts.inventory.put(failed)
        finally:
            life.end(failed)

    async def _clean(self, record: ContainerRecord) -> None:
        """Take away what only a running container needs; what fails is tried at the next step."""
        try:
            await self._starter.clean(record)
        except* Exception as group:
            log.exception("clean up", extra={"id": record.id[:12]}, exc_info=group)

    # --- end ----------------------------------------------------------------------------------

    def watch(self, record: ContainerRecord, pid: int) -> None:
        """Wait for the end of a running container in the background."""
        life = self._lives.of(record.id)
        life.pid, life.paused = pid, False
        self._checkups.begin(record)
        self._nursery.start_soon(self._watch, record.id, life)

    def is_watched(self, id_: str) -> bool:
        """Whether its end will be recorded."""
        return self._lives.pid(id_) > 0

    async def _watch(self, id_: str, life: Life) -> None:
        """Whatever fails here fails for one container: it is told and tried again."""
        while True:
            try:
                await self._record_exit(id_, life)
                break
            except Exception:
                log.exception("record an exit", extra={"id": id_[:12]})
            await trio.sleep(RETRY_S)
        await self._restarter.run(id_, life)

    async def _record_exit(self, id_: str, life: Life) -> None:
        try:
            exit_ = await self._parts.runtime.wait_exit(id_)
        except Exception as exc:
            if kind_of(exc) != "missing":
                raise
            exit_ = Exit(code=UNKNOWN_EXIT, finished_at=self._parts.now())
        async with life.lock:
            record = self._parts.inventory.containers.get(id_)
            if record is not None and record.phase == "running":
                await self.finish(record, exit_)

    async def finish(self, record: ContainerRecord, exit_: Exit) -> ContainerRecord:
        """Record an exit and take away what only a running container needs.

        The end is told to waiters even when the clean-up fails: the next start of the container
        or of the agent repeats it.
        """
        life = self._lives.of(record.id)
        life.checkup.cancel()
        self._sandboxes.hide(record.id)
        record = await self._put(
            self._find(record.id), phase="exited", exit_code=exit_.code,
            oom_killed=exit_.oom_killed, finished_at=build_time(exit_.finished_at),
            ending=record.ending.removeprefix("down"),
        )  # fmt: skip
        life.pid, life.paused = 0, False
        outcome = "oom" if exit_.oom_killed else "failed" if exit_.code else "succeeded"
        self.end_counts[outcome] += 1
        if exit_.oom_killed:
            self._tell(record, "oom")
        self._tell(record, "die", exitCode=str(exit_.code))
        try:
            await self._clean(record)
            await self._put(self._find(record.id), ports=[])
            if goes_at_end(record) and not life.is_kept:
                await self._remove(record, volumes=True)
        except* Exception as group:
            log.exception("after an exit", extra={"id": record.id[:12]}, exc_info=group)
        finally:
            life.end(record)
        return record

    # --- stop ---------------------------------------------------------------------------------

    async def stop(self, name: str, *, timeout_s: int | None, signal: str) -> None:
        """Stop signal, then KILL after the grace time; a container that is down is no error.

        It goes on when the caller hangs up, or the agent ends: the next one brings it to its end.
        """
        record = self._find(name)
        number = parse_signal(signal or record.stop_signal, field="signal")
        grace_s = record.request.stop_timeout_s if timeout_s is None else timeout_s
        stop = partial(self._stop, record.id, number, grace_s, "down")
        await finish_in(self._nursery, stop)

    async def _stop(self, id_: str, number: int, grace_s: int, leads: str) -> None:
        life = self._lives.of(id_)
        async with life.lock:
            record = self._find(id_)
            was_running = record.phase == "running"
            if not was_running and not life.give_up_restart():
                return
            leads = leads if was_running else ""
            record = await self._put(record, stopped_by_hand=True, ending=leads)
            ended = life.ended
        if was_running:
            await self._end(record, ended, number, grace_s=grace_s)
        self._tell(record, "stop")

    async def _end(
        self, record: ContainerRecord, ended: trio.Event, number: int, *, grace_s: int
    ) -> None:
        await self._signaller.end(record, number)
        with trio.move_on_after(grace_s) if grace_s >= 0 else trio.CancelScope():
            await ended.wait()
        if not ended.is_set():
            await self._signaller.kill(record, ended)

    async def kill(self, name: str, signal: str) -> None:
        """Send a signal; the container must run, or be about to by its policy."""
        record = self._find(name)
        number = parse_signal(signal, field="signal")
        is_end = number in {KILL, parse_signal(record.stop_signal, field="stop_signal")}
        life = self._lives.of(record.id)
        async with life.lock:
            record = self._find(record.id)
            is_down = is_end and life.give_up_restart()
            if not is_down:
                check_runs(record)
            if is_end:
                record = await self._put(record, stopped_by_hand=True)
        if is_end and not is_down:
            await self._signaller.end(record, number)
        elif not is_down:
            await self._parts.runtime.kill(record.id, number)
        self._tell(record, "kill", signal=str(number))

    async def restart(self, name: str, *, timeout_s: int | None, signal: str) -> None:
        """Stop and start; goes on when the caller hangs up, so that it is not left stopped."""
        record = self._find(name)
        number = parse_signal(signal or record.stop_signal, field="signal")
        grace_s = record.request.stop_timeout_s if timeout_s is None else timeout_s
        await finish_in(self._nursery, partial(self._restart, record.id, number, grace_s))

    async def _restart(self, id_: str, number: int, grace_s: int) -> None:
        life = self._lives.of(id_)
        life.is_kept = True
        try:
            await self._stop(id_, number, grace_s, "up")
        finally:
            life.is_kept = False
        await self.start(id_)
        self._tell(self._find(id_), "restart")

    async def pause(self, name: str) -> None:
        """Freeze all processes."""
        async with self.step(name) as record:
            await self._signaller.freeze(record, frozen=True)
        self._tell(record, "pause")

    async def unpause(self, name: str) -> None:
        """Thaw them."""
        async with self.step(name) as record:
            await self._signaller.freeze(record, frozen=False)
        self._tell(record, "unpause")

    def note_paused(self, id_: str) -> None:
        """At start: the container was found frozen."""
        self._lives.of(id_).paused = True

    # --- remove -------------------------------------------------------------------------------

    async def rm(self, name: str, *, force: bool, volumes: bool) -> None:
        """Remove a container; ``force`` kills it first; ``volumes``: its anonymous ones too."""
        id_ = self._find(name).id
        life = self._lives.of(id_)
        if force:
            await self._kill_for_rm(id_, life)
        async with life.lock:
            record = self._parts.inventory.containers.get(id_)
            if record is None:
                return
            if record.phase == "running" and not force:
                raise Conflict(
                    "the container runs; stop it first or use force", field="name", name=name
                )
            life.give_up_restart()
            await self._remove(record, volumes=volumes)

    async def _kill_for_rm(self, id_: str, life: Life) -> None:
        async with life.lock:
            record = self._parts.inventory.containers.get(id_)
            if record is None or record.phase != "running":
                return
            record = await self._put(record, stopped_by_hand=True)
            ended = life.ended
        await self._signaller.kill(record, ended)

    async def _remove(self, record: ContainerRecord, *, volumes: bool) -> None:
        """Intent, then all remains, then the record. Shielded: half a removal helps nobody.

        Raises:
            Busy: something hangs; another removal or the next start of the agent goes on with it.
        """
        anonymous = self._volumes.own_anonymous(record) if volumes else []
        leaving = [msgspec.structs.replace(each, phase="removing") for each in anonymous]
        with trio.move_on_after(CLEAN_S, shield=True) as scope:
            record = msgspec.structs.replace(record, phase="removing")
            await self._parts.inventory.put(record, *leaving)
            await self.finish_rm(record)
            for volume in leaving:
                await self._volumes.finish_rm(volume)
        if scope.cancelled_caught:
            raise Busy("the removal takes too long; try again", name=record.name)

    async def finish_rm(self, record: ContainerRecord) -> None:
        """Removal from the intent on; also used at start."""
        await self._starter.clean(record)
        etcdir.remove(self._parts.settings, record.id)
        await self.ship_rest(record)
        await self._parts.runtime.logbook.remove(record.id)
        await self._parts.roots.remove(record.id)
        await self._parts.inventory.delete(record)
        self._sandboxes.publish_names()
        self._lives.forget(record.id)
        self._tell(record, "destroy")

    # --- wait ---------------------------------------------------------------------------------

    async def wait(self, name: str, condition: str) -> tuple[int, str]:
        """(exit code, error) once the condition holds: not-running, next-exit or removed."""
        record = self._find(name)
        last = await self._lives.of(record.id).wait(record, condition)
        return last.exit_code, last.error

    # --- for others that change a container ----------------------------------------------------

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[ContainerRecord]:
        """Have the container for one step of a change: nothing else happens to it meanwhile."""
        id_ = self._find(name).id
        async with self._lives.of(id_).lock:
            yield self._find(id_)


def _failed(before: ContainerRecord, exc: BaseException) -> ContainerRecord:
    """The record of a container that could not be started."""
    if not isinstance(exc, Exception):
        return msgspec.structs.replace(before, error="the start was cancelled", ports=[])
    code = fields_of(exc).get("exit_code", 128)
    return msgspec.structs.replace(
        before, error=str(exc), ports=[], exit_code=code if isinstance(code, int) else 128
    )


async def _nothing_to_ship(_record: ContainerRecord) -> None:
    await trio.lowlevel.checkpoint()

"""Probing: runs the health checks of the containers that run, and does what follows from them.

A status lives in memory, and begins anew with each run of the container or of the agent. Only
whether a container was healthy is durable: one that we adopt keeps its place in the answers until
a probe says otherwise, so a restart of the agent takes no name away.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
import trio

from nodeagent.control.health import (
    OUTPUT_MAX_BYTES,
    TIMED_OUT,
    Health,
    Result,
    Status,
    advance,
    build_output,
    is_ready,
    pace_s,
)
from nodeagent.control.lives import Life, Lives
from nodeagent.control.parts import Parts
from nodeagent.control.restart import next_delay_s
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.control.times import parse_time
from nodeagent.errors import kind_of
from nodeagent.model.container import ContainerRecord
from nodeagent.model.health import HealthRecord
from runtime.contract.container import ProcessSpec

log = logging.getLogger(__name__)

RETRY_S: Final = 5.0  # after a failure of ours, so that it is not repeated at full speed; a guess
AGE_DIGITS: Final = 3  # of seconds: a sleep may end a rounding error before its time
KILL: Final = 9
NEVER_S: Final = float("inf")

Action = Callable[[str], Awaitable[None]]


class Checkups:
    """Health checks of all containers; that of each run ends with the run."""

    def __init__(
        self,
        parts: Parts,
        sandboxes: Sandboxes,
        lives: Lives,
        nursery: trio.Nursery,
        actions: Mapping[str, Action],
    ) -> None:
        self._parts = parts
        self._sandboxes = sandboxes
        self._lives = lives
        self._nursery = nursery
        self._actions = {"kill": self._kill, **actions}
        self.counts = {"passed": 0, "failed": 0, "timed_out": 0}  # for metrics

    def begin(self, record: ContainerRecord) -> None:
        """A container runs: begin to probe it, if it has a check."""
        life = self._lives.of(record.id)
        life.health, life.checkup, life.act_at = None, trio.CancelScope(), NEVER_S
        self._sandboxes.set_ready(record.id, is_ready(record))
        if record.health is not None:
            life.health = Health()
            self._nursery.start_soon(self._run, record, record.health, life)

    async def _run(self, record: ContainerRecord, check: HealthRecord, life: Life) -> None:
        with life.checkup as scope:
            await trio.sleep(self._first_delay_s(record, check))
            while not scope.cancel_called:
                try:
                    delay_s = await self._step(record, check, life)
                except Exception:
                    log.exception("check a container's health", extra={"id": record.id[:12]})
                    delay_s = RETRY_S
                await trio.sleep(delay_s)

    def _age_s(self, record: ContainerRecord) -> float:
        return round(max(self._parts.now() - parse_time(record.started_at), 0.0), AGE_DIGITS)

    def _first_delay_s(self, record: ContainerRecord, check: HealthRecord) -> float:
        """Adopted ones come one by one: a hundred probes at once would hold everything up."""
        delay_s = pace_s(check, Health(), age_s=self._age_s(record))
        if not record.was_healthy:
            return delay_s
        return min(delay_s, check.start_interval_s) * int(record.id[:4], 16) / 0x10000

    async def _step(self, record: ContainerRecord, check: HealthRecord, life: Life) -> float:
        """One probe, or what an unhealthy one has coming; the time until the next step."""
        before = life.health or Health()
        if trio.current_time() >= life.act_at:
            life.act_at = NEVER_S
            self._nursery.start_soon(self._act, record.id, check.on_unhealthy)
            return check.interval_s
        age_s = self._age_s(record)
        result = None if life.paused else await self._probe(record, check)
        if result is not None and not life.paused:
            life.health = advance(check, before, result, age_s=age_s)
            if life.health.status != before.status:
                self._changed(record.id, check, life, before.status, life.health.status)
            await self._remember(record.id, life, life.health.status)
        wait_s = pace_s(check, life.health or before, age_s=self._age_s(record))
        return max(min(wait_s, life.act_at - trio.current_time()), 0.0)

    async def _probe(self, record: ContainerRecord, check: HealthRecord) -> Result | None:
        """Run the test once; None if it could not say anything: it is paused, or over."""
        output = bytearray()

        def sink(data: bytes) -> None:
            output.extend(data[: OUTPUT_MAX_BYTES - len(output)])

        start, code = self._parts.now(), TIMED_OUT
        with trio.move_on_after(check.timeout_s) as scope:
            try:
                code = await self._parts.runtime.probe(record.id, _process(record, check), sink)
            except Exception as exc:
                if kind_of(exc) in {"missing", "conflict"}:
                    return None
                if not kind_of(exc):
                    raise
                sink(str(exc).encode())
        late = scope.cancelled_caught
        self.counts["timed_out" if late else "failed" if code else "passed"] += 1
        text = build_output(bytes(output), timeout_s=check.timeout_s if late else None)
        return Result(start, self._parts.now(), code, text)

    def _changed(
        self, id_: str, check: HealthRecord, life: Life, before: Status, status: Status
    ) -> None:
        """Names first, then who listens; what was asked for comes after its delay."""
        is_healthy, now = status == "healthy", trio.current_time()
        self._sandboxes.set_ready(id_, is_healthy)
        if is_healthy:
            life.act_at, life.healthy_at = NEVER_S, now
        elif check.on_unhealthy != "none":
            steady_s = now - life.healthy_at if before == "healthy" else 0.0
            life.act_delay_s = next_delay_s(life.act_delay_s, ran_s=steady_s)
            life.act_at = now + life.act_delay_s
        record = self._parts.inventory.container(id_)
        self._tell(record, f"health_status: {status}", health_status=status)
        log.info("health", extra={"id": id_[:12], "status": status})

    async def _remember(self, id_: str, life: Life, status: Status) -> None:
        """What the next agent has to know; not that it has only begun to look."""
        is_healthy = status == "healthy"
        if status == "starting" or self._parts.inventory.container(id_).was_healthy == is_healthy:
            return
        async with life.lock:
            record = self._parts.inventory.container(id_)
            if record.phase == "running":
                await self._parts.inventory.put(
                    msgspec.structs.replace(record, was_healthy=is_healthy)
                )

    def _tell(self, record: ContainerRecord, action: str, **attributes: str) -> None:
        self._parts.events.tell(record, action, **attributes)

    # --- what follows ---------------------------------------------------------------------------

    async def _act(self, id_: str, action: str) -> None:
        """Not in the check-up: that ends with the run, and this goes on."""
        record = self._parts.inventory.containers.get(id_)
        if record is None or record.phase != "running" or record.stopped_by_hand:
            return  # somebody else does something about it
        log.warning("an unhealthy container", extra={"id": id_[:12], "action": action})
        try:
            await self._actions[action](id_)
        except Exception:
            log.exception("act on an unhealthy container", extra={"id": id_[:12]})

    async def _kill(self, id_: str) -> None:
        """As if it had crashed: its restart policy decides what comes next."""
        await self._parts.runtime.kill(id_, KILL)
        self._tell(self._parts.inventory.container(id_), "kill", signal=str(KILL))


def _process(record: ContainerRecord, check: HealthRecord) -> ProcessSpec:
    return ProcessSpec(
        args=tuple(check.args),
        env=tuple(record.env),
        cwd=record.working_dir,
        user=record.user,
        groups=tuple(record.request.groups),
    )

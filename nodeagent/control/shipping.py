"""Shipping logs to collectors: from the file, one task a container, as far as the collector goes.

The program writes to its file whatever the collector does; the file, bounded by its rotation, is
the buffer. How far it was shipped is durable. What rotation drops before it was shipped is counted
and told.
"""

import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from typing import Final, NoReturn

import trio

from nodeagent.control.logoptions import build_attributes, build_tag
from nodeagent.control.logtargets import TARGET_KEYS, parse_target
from nodeagent.control.parts import Parts
from nodeagent.errors import kind_of
from nodeagent.model.container import ContainerRecord
from runtime.contract.logs import Cursor, LogLine
from runtime.contract.shipping import OpenSink, Origin, Sink, Target

log = logging.getLogger(__name__)

PERIOD_S: Final = 0.5  # between two looks for containers that began or ended
RETRY_MIN_S: Final = 0.5
RETRY_MAX_S: Final = 30.0
DRAIN_S: Final = 5.0  # that a removal waits for a collector that answers; a guess


class Shipment:
    """One container's task, from its begin to the end of what it had to ship."""

    def __init__(self, record: ContainerRecord, target: Target) -> None:
        self.record = record
        self.target = target
        self.cursor: Cursor | None = None  # as far as this task came; None: as is durable
        self.scope = trio.CancelScope()
        self.ended = trio.Event()  # the container writes no more
        self.settled = trio.Event()  # all is shipped, or the collector failed
        self.is_done = False
        self.is_failing = False
        self.lines = 0  # for metrics, as the next
        self.lost = 0
        self.failures = 0


class Shipping:
    """Ships the logs of the containers whose driver says so."""

    def __init__(
        self, parts: Parts, open_sink: OpenSink, nursery: trio.Nursery, *, host: str
    ) -> None:
        self._parts = parts
        self._open = open_sink
        self._nursery = nursery
        self._host = host
        self.shipments: dict[str, Shipment] = {}

    async def run(self) -> NoReturn:
        """Look for ever who is to be shipped."""
        while True:
            self.look()
            await trio.sleep(PERIOD_S)

    def look(self) -> None:
        """Begin what runs, or ran, and is not shipped; end what ended."""
        known = self._parts.inventory.containers
        for record in known.values():
            self._look(record)
        for id_ in self.shipments.keys() - known.keys():
            self.shipments.pop(id_).scope.cancel()

    def _look(self, record: ContainerRecord) -> None:
        if record.log.driver not in TARGET_KEYS or not record.started_at:
            return
        shipment = self.shipments.get(record.id)
        if shipment is None or (shipment.is_done and not _is_of(shipment, record)):
            shipment = self._begin(record)
        if record.phase != "running" or not _is_of(shipment, record):
            shipment.ended.set()

    def _begin(self, record: ContainerRecord) -> Shipment:
        target = parse_target(record.log.driver, record.log.options)
        assert target is not None  # noqa: S101  it is one of the drivers that have one
        before, shipment = self.shipments.get(record.id), Shipment(record, target)
        if before is not None:
            shipment.lines, shipment.lost = before.lines, before.lost
            shipment.failures = before.failures
        self.shipments[record.id] = shipment
        self._nursery.start_soon(self._ship, shipment)
        return shipment

    async def finish(self, record: ContainerRecord) -> None:
        """It is being removed: ship what is left, unless its collector fails."""
        self._look(record)
        shipment = self.shipments.pop(record.id, None)
        if shipment is None:
            return
        shipment.ended.set()
        with trio.move_on_after(DRAIN_S):
            await shipment.settled.wait()
        if not shipment.is_done:
            log.warning("removed with output not shipped", extra={"id": record.id[:12]})
        shipment.scope.cancel()

    # --- one container --------------------------------------------------------------------------

    async def _ship(self, shipment: Shipment) -> None:
        with shipment.scope:
            delay_s = RETRY_MIN_S
            while not shipment.is_done:
                before = shipment.lines
                try:
                    await self._ship_on(shipment)
                except Exception as exc:
                    if not kind_of(exc) and not isinstance(exc, OSError):
                        log.exception("ship a log", extra={"id": shipment.record.id[:12]})
                    self._failed(shipment, str(exc))
                    delay_s = RETRY_MIN_S if shipment.lines > before else delay_s
                    await trio.sleep(delay_s)
                    delay_s = min(delay_s * 2, RETRY_MAX_S)

    async def _ship_on(self, shipment: Shipment) -> None:
        """From where it was left, to the end of the log of a container that ended.

        The collector is reached for once there is something for it.
        """
        record, logbook = shipment.record, self._parts.runtime.logbook
        sink: Sink | None = None
        cursor = shipment.cursor or await logbook.read_shipped(record.id)
        async with AsyncExitStack() as stack:
            batches = logbook.read_batches(record.id, cursor, shipment.ended.wait)
            async for lines in await stack.enter_async_context(aclosing(batches)):
                if whole := self._without_lost(shipment, lines):
                    if sink is None:
                        sink = await stack.enter_async_context(self._open_sink(shipment))
                    await sink.send(whole)
                    self._sent(shipment, len(whole))
                shipment.cursor = lines[-1].cursor
                await self._remember(shipment)
        shipment.is_done = True
        shipment.settled.set()

    def _without_lost(self, shipment: Shipment, lines: Sequence[LogLine]) -> list[LogLine]:
        lost = sum(each.lost for each in lines)
        if lost:
            shipment.lost += lost
            id_ = shipment.record.id[:12]
            log.warning("log files dropped unshipped", extra={"id": id_, "files": lost})
            self._tell(shipment, "log_lost", files=str(lost))
        return [each for each in lines if not each.lost]

    def _sent(self, shipment: Shipment, count: int) -> None:
        shipment.lines += count
        if shipment.is_failing:
            shipment.is_failing, shipment.settled = False, trio.Event()
            log.info("logs are shipped again", extra={"id": shipment.record.id[:12]})
            self._tell(shipment, "log_collector_back")

    async def _remember(self, shipment: Shipment) -> None:
        """For the next agent; on a full disk it will repeat what came since."""
        if shipment.cursor is None:
            return
        try:
            await self._parts.runtime.logbook.write_shipped(shipment.record.id, shipment.cursor)
        except OSError as exc:
            id_ = shipment.record.id[:12]
            log.debug("place in the log not kept", extra={"id": id_, "error": str(exc)})

    def _failed(self, shipment: Shipment, why: str) -> None:
        shipment.failures += 1
        shipment.settled.set()
        if not shipment.is_failing:  # told once, not at each try
            shipment.is_failing = True
            log.warning("logs not shipped", extra={"id": shipment.record.id[:12], "error": why})
            self._tell(shipment, "log_collector_lost", error=why)

    def _tell(self, shipment: Shipment, action: str, **attributes: str) -> None:
        record = shipment.record
        attributes["driver"] = record.log.driver
        self._parts.events.tell(record, action, **attributes)

    def _open_sink(self, shipment: Shipment) -> AbstractAsyncContextManager[Sink]:
        record = self._parts.inventory.containers.get(shipment.record.id, shipment.record)
        origin = Origin(
            host=self._host,
            container_id=record.id,
            container_name=record.name,
            image_name=record.image_name,
            tag=build_tag(record),
            attributes=build_attributes(record),
        )
        return self._open(shipment.target, origin)


def _is_of(shipment: Shipment, record: ContainerRecord) -> bool:
    """Whether it ships the container's present run."""
    return shipment.record.started_at == record.started_at

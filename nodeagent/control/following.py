"""Ports that were published without an address go with the addresses that the host has.

A new private address gets them under the numbers they have; with one that is gone they go. What
cannot be held is tried again at the next look.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NoReturn

import msgspec
import trio

from nodeagent.control.desired import has_sandbox, ports_text
from nodeagent.control.parts import Parts
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.control.wakes import Wakes
from nodeagent.errors import kind_of
from nodeagent.model.container import BoundPort, ContainerRecord

log = logging.getLogger(__name__)

PERIOD_S = 30.0  # a look even if nobody told of a change
GAP_S = 1.0  # between two looks: addresses come in crowds


def plan_follow(
    ports: Sequence[BoundPort], addresses: Iterable[str]
) -> tuple[list[BoundPort], list[BoundPort]]:
    """What is to come and what is to go, so that ports are on just these addresses. Pure."""
    wanted = list(addresses)
    first: dict[tuple[object, ...], BoundPort] = {}
    have: dict[tuple[object, ...], set[str]] = {}
    for port in ports:
        if port.by_default:
            key = (port.container_port, port.protocol, port.host_port)
            first.setdefault(key, port)
            have.setdefault(key, set()).add(port.host_ip)
    come = [
        msgspec.structs.replace(port, host_ip=ip)
        for key, port in first.items()
        for ip in wanted
        if ip not in have[key]
    ]
    return come, [port for port in ports if port.by_default and port.host_ip not in wanted]


class Follower:
    """Looks when woken, and every 30 s; one container after the other, each in its turn."""

    def __init__(
        self,
        parts: Parts,
        sandboxes: Sandboxes,
        step: Callable[[str], AbstractAsyncContextManager[ContainerRecord]],
    ) -> None:
        self._parts = parts
        self._sandboxes = sandboxes
        self._ports = sandboxes.ports
        self._step = step
        self._wakes = Wakes()

    def wake(self) -> None:
        """Look again soon; any number of calls before that are one."""
        self._wakes.wake()

    async def run(self) -> NoReturn:
        """Follow for ever; the first look is now."""
        while True:
            await self.look()
            await trio.sleep(GAP_S)
            await self._wakes.wait(PERIOD_S)

    async def look(self) -> None:
        """Bring every running container in line; one that fails keeps no other from it."""
        for record in list(self._parts.inventory.containers.values()):
            if self._is_right(record):
                continue
            try:
                async with self._step(record.id) as now:
                    if now.phase == "running":
                        await self._follow(now)
            except Exception as exc:
                if not kind_of(exc):
                    raise
                log.warning(
                    "published ports do not follow the host's addresses, trying again",
                    extra={"id": record.id[:12], "error": str(exc)},
                )

    def _is_right(self, record: ContainerRecord) -> bool:
        if record.phase != "running" or not record.ports or not has_sandbox(record):
            return True
        return not any(self._plan(record)) and self._ports.holds_all(record)

    def _plan(self, record: ContainerRecord) -> tuple[list[BoundPort], list[BoundPort]]:
        if not any(port.by_default for port in record.ports):
            return [], []
        return plan_follow(record.ports, map(str, self._ports.default_addresses(record)))

    async def _follow(self, record: ContainerRecord) -> None:
        """Hold, record, then the kernel; what is gone is let go last. A kill leaves no half."""
        await self._ports.hold_again(record)
        come, go = self._plan(record)
        held = await self._ports.add(record, come)
        if not held and not go:
            return
        ports = [port for port in record.ports if port not in go] + held
        changed = msgspec.structs.replace(record, ports=ports)
        try:
            await self._parts.inventory.put(changed)
        except BaseException:
            self._ports.release(record.id, held)
            raise
        self._ports.release(record.id, go)
        await self._sandboxes.refresh(changed)
        self._tell(record, held, go)

    def _tell(self, record: ContainerRecord, come: list[BoundPort], go: list[BoundPort]) -> None:
        added, removed = ", ".join(ports_text(come)), ", ".join(ports_text(go))
        log.info(
            "published ports followed the host's addresses",
            extra={"id": record.id[:12], "added": added, "removed": removed},
        )
        self._parts.events.tell(record, "ports", added=added, removed=removed)

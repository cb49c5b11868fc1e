"""Drift: what the kernel has that is not as wanted is found, told and mended.

A look over everything is no more than a hint: it keeps nobody waiting, so it may catch an object in
the midst of its making. What it finds is mended object by object, in the object's own turn, where
it is looked at again. Only where much is broken, or what all share, is it one pass over everything.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import trio

from netdrivers.contract.engine import Report
from netdrivers.contract.specs import Scope
from netdrivers.plan.objects import Forwarding, Key, Table
from netdrivers.plan.ops import Op
from netdrivers.plan.render import render_op
from nodeagent.control.fights import Fights
from nodeagent.control.parts import Parts
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.errors import kind_of

log = logging.getLogger(__name__)

FEW: Final = 16  # objects mended one by one; more of them in one pass
TOLD: Final = 20  # changes in a log line or an event
KINDS: Final[Mapping[str, str]] = {
    "Table": "rule",
    "Forwarding": "sysctl",
    "Sandbox": "namespace",
    "Bridge": "link",
    "Veth": "link",
    "Macvlan": "link",
    "Parent": "link",
    "DnsRedirect": "redirect",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What was, or would be, done to agree; and what keeps a part from working, in words."""

    ops: Sequence[Op] = ()
    conflicts: Sequence[str] = ()
    failed: Mapping[Op, str] = field(default_factory=dict)  # what could not be done, and why

    @property
    def lines(self) -> list[str]:
        """The changes as text."""
        return [render_op(op) for op in self.ops]


class Repairer:
    """Use cases ``network check`` and ``network repair``, and the pass of the loop."""

    def __init__(self, parts: Parts, sandboxes: Sandboxes) -> None:
        self._parts = parts
        self._sandboxes = sandboxes
        self._fights = Fights()
        self._failed: set[Key] = set()  # what could not be mended the last time, told once
        self.repairs = sandboxes.repairs
        self.left: Sequence[Op] = ()  # what the last look of the loop found and did not mend
        self.wait_s = float("inf")  # until something that is fought over may be mended again

    async def check(self, network: str = "") -> Drift:
        """What a repair would do now, to everything or to what one network depends on."""
        owners = self._owners(network)
        async with self._sandboxes.gate.whole():
            report = await self._look(fresh=True)
        return Drift(
            ops=[op for op in report.ops if owners is None or op.obj.owner in owners],
            conflicts=report.conflicts,
        )

    async def repair(self, network: str = "") -> Drift:
        """Mend it now, whatever is fought over."""
        owners = self._owners(network)
        report = await self._look(fresh=True)
        ops = [op for op in report.ops if owners is None or op.obj.owner in owners]
        return await self._mend(ops, report.conflicts)

    async def look(self, *, fresh: bool) -> Drift:
        """The pass of the loop: mend what is not being fought over.

        ``fresh``: believe nothing that is remembered of the kernel.
        """
        self.repairs.runs += 1
        now = trio.current_time()
        try:
            report = await self._look(fresh=fresh)
        except Exception:
            self.repairs.failures += 1
            raise
        due = [op for op in report.ops if self._fights.is_due(op.obj.key, now)]
        self.wait_s = self._fights.wait_s([op.obj.key for op in report.ops if op not in due], now)
        drift = await self._mend(due, report.conflicts)
        mended = {op.obj.key for op in drift.ops}
        self.left = [op for op in report.ops if op.obj.key not in mended]
        return drift

    def _owners(self, network: str) -> set[str] | None:
        """Whose objects a network depends on; what has no owner is shared by all."""
        if not network:
            return None
        inventory = self._parts.inventory
        id_ = inventory.network(network).id
        return {"", id_, *(member.id for member in inventory.members(id_))}

    async def _look(self, *, fresh: bool) -> Report:
        return await self._parts.engine.look(self._sandboxes.wanted(), fresh=fresh)

    # --- mending ----------------------------------------------------------------------------

    async def _mend(self, ops: Sequence[Op], conflicts: Iterable[str]) -> Drift:
        owners = list(dict.fromkeys(op.obj.owner for op in ops))
        if not owners:
            self._failed = set()
            return Drift(conflicts=tuple(conflicts))
        alone = len(owners) <= FEW and all(self._is_known(owner) for owner in owners)
        drift = await (self._mend_each(owners) if alone else self._mend_all(owners))
        self._tell(drift.ops)
        self._tell_failed(drift.failed)
        return replace(drift, conflicts=(*dict.fromkeys((*conflicts, *drift.conflicts)),))

    def _is_known(self, owner: str) -> bool:
        inventory = self._parts.inventory
        return owner in inventory.networks or owner in inventory.containers

    async def _mend_all(self, owners: Sequence[str]) -> Drift:
        try:
            async with self._sandboxes.gate.whole():
                report = await self._parts.engine.apply(self._sandboxes.wanted(), None, mend=True)
        except Exception as exc:
            if not kind_of(exc):
                raise
            # what cannot be as it should be keeps no other object from it
            self.repairs.failures += 1
            each = await self._mend_each([owner for owner in owners if owner])
            return replace(each, conflicts=(*each.conflicts, str(exc)))
        return Drift(ops=report.ops, conflicts=report.conflicts, failed=report.failed)

    async def _mend_each(self, owners: Iterable[str]) -> Drift:
        ops: list[Op] = []
        conflicts: list[str] = []
        failed: dict[Op, str] = {}
        for owner in owners:
            scope = Scope(networks=frozenset({owner}), sandboxes=frozenset({owner}))
            try:
                async with self._sandboxes.gate.step(owner):
                    wanted = self._sandboxes.wanted_of(owner)
                    report = await self._parts.engine.apply(wanted, scope, mend=True)
            except Exception as exc:
                if not kind_of(exc):
                    raise
                conflicts.append(str(exc))
            else:
                ops += report.ops
                conflicts += report.conflicts
                failed |= report.failed
        return Drift(ops=ops, conflicts=conflicts, failed=failed)

    # --- telling ----------------------------------------------------------------------------

    def _tell(self, ops: Sequence[Op]) -> None:
        # what all share goes with the last who needed it: nobody has broken anything
        ops = [op for op in ops if not (op.verb == "delete" and _is_shared(op))]
        if not ops:
            return
        self.repairs.ops.update(kind(op) for op in ops)
        lines = [render_op(op) for op in ops]
        log.warning("drift repaired", extra={"count": len(ops), "ops": lines[:TOLD]})
        by_owner: dict[str, list[str]] = {}
        for op, line in zip(ops, lines, strict=True):
            by_owner.setdefault(op.obj.owner, []).append(line)
        for owner in list(by_owner)[:TOLD]:
            self._publish("repair", owner, by_owner[owner])
        begun = self._fights.note([op.obj.key for op in ops], trio.current_time())
        for op, line in zip(ops, lines, strict=True):
            if op.obj.key in begun:
                log.warning("somebody changes it again and again", extra={"op": line})
                self._publish("fought over", op.obj.owner, [line])

    def _tell_failed(self, failed: Mapping[Op, str]) -> None:
        self.repairs.failures += len(failed)
        for op, why in failed.items():
            if op.obj.key not in self._failed:
                self._publish("repair failed", op.obj.owner, [render_op(op)], why=why)
        self._failed = {op.obj.key for op in failed}

    def _publish(self, action: str, owner: str, lines: list[str], **more: str) -> None:
        attributes = {"ops": "\n".join(lines[:TOLD]), "count": str(len(lines)), **more}
        network, container = next(self._subject(owner), ("", ""))
        if container:
            attributes["container"] = container
        known = self._parts.inventory.networks.get(network)
        self._parts.events.publish(
            "network", action, network, known.name if known else "", **attributes
        )

    def _subject(self, owner: str) -> Iterator[tuple[str, str]]:
        """The network of an owner, and the container's name if it is one."""
        inventory = self._parts.inventory
        record = inventory.containers.get(owner)
        if record is not None:
            yield next(iter(record.endpoints), ""), record.name
        elif owner in inventory.networks:
            yield owner, ""


def _is_shared(op: Op) -> bool:
    return isinstance(op.obj, Table | Forwarding)


def kind(op: Op) -> str:
    """The kind of an object as the metric says it."""
    name = type(op.obj).__name__
    return KINDS.get(name, name.lower())

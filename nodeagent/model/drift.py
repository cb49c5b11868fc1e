"""What the kernel has that is not as wanted, and what is held for nobody."""

from msgspec import Struct


class PlanResult(Struct, frozen=True, kw_only=True):
    """Kernel changes as text, one a line; none is made."""

    ops: list[str]


class DriftResult(Struct, frozen=True, kw_only=True):
    """What is, or was, to be mended, and what cannot be from here."""

    ops: list[str]
    conflicts: list[str]


class LeakRow(Struct, frozen=True, kw_only=True):
    """One thing of ours without an owner."""

    kind: str  # namespace, link, address, element, …: of the kernel; lease, port, names: of ours
    what: str
    why: str


class AuditResult(Struct, frozen=True, kw_only=True):
    """Leaks, and what bears the mark of other agents: they may live or not."""

    leaks: list[LeakRow]
    others: dict[str, int]  # objects by agent id

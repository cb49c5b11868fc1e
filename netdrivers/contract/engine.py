"""What a driver says of a network, and what the engine does about it.

A driver turns specs into kernel objects and never sees the kernel; the engine makes the kernel
agree. ``control`` sees this package and nothing below it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path
from typing import ClassVar, NoReturn, Protocol

from netdrivers.contract.explain import Asked, Explanation
from netdrivers.contract.specs import (
    Desired,
    EndpointSpec,
    HostRoute,
    IPAddress,
    NetworkSpec,
    PublishedPort,
    Scope,
)
from netdrivers.plan.objects import KernelObject
from netdrivers.plan.ops import Op


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an apply did. ``ops`` empty = the kernel already agreed."""

    ops: tuple[Op, ...]
    # in words, what keeps a part of it from working: a parent link that is gone, a doubled address
    conflicts: tuple[str, ...] = ()
    failed: Mapping[Op, str] = field(default_factory=dict)  # why; of a mend, also in conflicts


class NetworkDriver(Protocol):
    """Says which kernel objects should exist. Pure: no socket, file, clock or random."""

    name: ClassVar[str]
    # unless internal, its containers are on a wire that is not ours, with addresses of that wire:
    # such a network publishes no ports, and its subnet may be that of a link of the host
    on_wire: ClassVar[bool]

    def check(self, net: NetworkSpec) -> None:
        """Refuse what this driver cannot do (Invalid names the option)."""

    def network(self, net: NetworkSpec) -> Iterable[KernelObject]:
        """Objects of the network itself, in the host's namespace."""
        ...

    def endpoint(self, net: NetworkSpec, ep: EndpointSpec) -> Iterable[KernelObject]:
        """Objects of one endpoint, in the host's namespace and in the sandbox."""
        ...


class NetworkEngine(Protocol):
    """Makes the kernel agree with ``Desired``.

    One instance per agent, bound to the namespace it was opened in; it serialises what must be
    serial and batches the rest.
    """

    async def open(self) -> None:
        """Take the namespace and probe its features. Unavailable names what is missing."""

    async def run(self) -> NoReturn:
        """Tell neighbours of new addresses, in the background of ``apply``, until cancelled.

        A neighbour who has one of them, too, is a conflict of the next apply without a scope.
        """
        ...

    async def make_sandbox(self, sandbox_id: str) -> Path:
        """Create and pin the namespace (lo up) if it is not there; return its path."""
        ...

    async def apply(self, desired: Desired, scope: Scope | None, *, mend: bool = False) -> Report:
        """Snapshot, diff, apply and verify what is in ``scope``.

        A sandbox in scope brings its endpoints and its ports. What is marked, in scope and not in
        ``desired`` is removed, sandboxes included. A second apply makes zero ops.

        Raises:
            Conflict: an unmarked object is in the way. Refused: the kernel said no.
            Missing: a network's parent link is not there (option, parent); with a scope only.
        Cancel: what this call added is taken back. To ``mend`` leaves out what cannot be.
        """
        ...

    async def plan(self, desired: Desired, scope: Scope | None) -> Sequence[Op]:
        """What ``apply`` would do, without doing it."""
        ...

    async def explain(self, desired: Desired, asked: Asked) -> Explanation:
        """Say at which hop a packet dies, and by which rule or missing thing. Changes nothing.

        Raises:
            Missing: the source has no namespace. Unavailable: the probe could not be run.
        """
        ...

    def objects(self, desired: Desired, scope: Scope | None) -> Sequence[KernelObject]:
        """What should exist in ``scope``, whether it does or not; nothing is read."""

    async def look(self, desired: Desired, *, fresh: bool) -> Report:
        """What an ``apply`` of all would do; waits for no change. ``fresh``: believes no memory."""

    async def others(self) -> Mapping[str, int]:
        """Links and tables here that bear the mark of another agent, counted by its id."""

    async def wait_change(self) -> None:
        """Return once something changed here or in a sandbox, whoever did it. One waiter only."""

    async def hold_ports(self, ports: Iterable[PublishedPort]) -> None:
        """Bind the host ports (all or none) so that conflicts show now and nobody takes them.

        Raises:
            Conflict: ``address already in use`` with fields host_ip, host_port, protocol, and
                held_ip where it is by one of ours, or pid and command where a process is found.
            Exhausted: no descriptor is left. Invalid: this host does not have the address.
        """

    def pick_port(self, protocol: str, host_ip: IPAddress) -> int:
        """Bind and hold a free port of the ephemeral range on ``host_ip``."""
        ...

    def release_ports(self, ports: Iterable[PublishedPort]) -> None:
        """Let the host ports go. Unknown ones are ignored."""

    def is_bound(self, port: PublishedPort) -> bool:
        """Whether a socket of ours has the host port; never where the kernel has no SCTP."""
        ...

    async def host_routes(self) -> list[HostRoute]:
        """Routes of every table, and addresses, that are none of ours, for IPAM to avoid."""
        ...

    async def uplink_mtu(self) -> int:
        """MTU of the link of the default route; 0 where there is none."""
        ...

    def sealed_address(self, key: str) -> IPv6Address:
        """Where a host with this public key is, behind the encryption."""
        ...

    def counters(self, sandbox_id: str) -> Mapping[str, Mapping[str, int]]:
        """By link of the sandbox ("" = here): {rx,tx}_{bytes,packets,errors,dropped}."""
        ...

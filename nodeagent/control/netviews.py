"""Networks as people and programs look at them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network
from typing import Literal

from netdrivers.plan.objects import Bridge, KernelObject, Macvlan, Parent, Veth
from netdrivers.plan.ops import Op
from netdrivers.plan.render import line
from nodeagent.control.names import NameRow
from nodeagent.model.container import ContainerRecord
from nodeagent.model.network import (
    DnsRecordView,
    IpamConfigView,
    IpamView,
    KernelObjectView,
    NetworkContainerView,
    NetworkRecord,
    NetworkRow,
    NetworkView,
)

Counters = Mapping[str, Mapping[str, int]]  # by link
State = Literal["present", "missing", "different", "unwanted", "unknown"]
STATES: Mapping[str, State] = {"add": "missing", "change": "different", "delete": "unwanted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen in the kernel. ``ops``: what a repair would do; None = it could not be asked.

    ``counters``: of links by sandbox ("" = the agent's namespace). ``conflicts``: routes of the
    host's that overlap its subnets.
    """

    objects: Sequence[KernelObject]
    ops: Sequence[Op] | None
    problem: str = ""
    counters: Mapping[str, Counters]
    conflicts: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A running container on the network."""

    record: ContainerRecord
    names: Sequence[str]
    is_ready: bool
    ports: Sequence[str]


def scope_of(record: NetworkRecord) -> str:
    """Whether a network is this host's or the cluster's."""
    return "cluster" if record.shared else "local"


def network_row(record: NetworkRecord) -> NetworkRow:
    """One line of ``network ls``."""
    return NetworkRow(
        id=record.id,
        name=record.name,
        driver=record.driver,
        scope=scope_of(record),
        internal=record.internal,
        created_at=record.created,
        labels=",".join(f"{key}={value}" for key, value in record.labels.items()),
    )


def network_view(
    record: NetworkRecord,
    members: Sequence[Member],
    counts: Sequence[tuple[int, int]],
    look: Look,
    names: Iterable[NameRow],
) -> NetworkView:
    """One element of ``network inspect``."""
    return NetworkView(
        name=record.name,
        id=record.id,
        created=record.created,
        scope=scope_of(record),
        driver=record.driver,
        enable_ipv4=any(ip_network(each.subnet).version == 4 for each in record.subnets),
        enable_ipv6=any(ip_network(each.subnet).version == 6 for each in record.subnets),
        ipam=_ipam(record, counts),
        internal=record.internal,
        containers={each.record.id: _member(each, record.id, look) for each in members},
        options=record.options,
        labels=record.labels,
        mtu=record.mtu_bytes,
        kernel_objects=object_views(look),
        problem=look.problem,
        dns_records=[
            DnsRecordView(name=row.name, addresses=list(row.addresses), ready=row.is_ready)
            for row in names
        ],
        conflicts=list(look.conflicts),
    )


def _ipam(record: NetworkRecord, counts: Sequence[tuple[int, int]]) -> IpamView:
    return IpamView(
        driver="default",
        config=[
            IpamConfigView(
                subnet=subnet.subnet,
                gateway=subnet.gateway,
                ip_range=subnet.ip_range,
                auxiliary_addresses=subnet.aux_addresses,
                addresses_used=used,
                addresses_free=free,
            )
            for subnet, (used, free) in zip(record.subnets, counts, strict=True)
        ],
    )


def _member(member: Member, network_id: str, look: Look) -> NetworkContainerView:
    endpoint = member.record.endpoints[network_id]
    by_version = {ip_interface(text).version: text for text in endpoint.addresses}
    counters = look.counters.get(member.record.id, {})
    return NetworkContainerView(
        name=member.record.name,
        endpoint_id=endpoint.id,
        mac_address=endpoint.mac,
        ipv4_address=by_version.get(4, ""),
        ipv6_address=by_version.get(6, ""),
        interface=endpoint.interface,
        names=list(member.names),
        ready=member.is_ready,
        ports=list(member.ports),
        counters=dict(counters.get(endpoint.interface, {})),
    )


def object_views(look: Look) -> list[KernelObjectView]:
    """Wanted objects in order of their making, then those that are there and should not be."""
    steps = {op.obj.key: op for op in look.ops or ()}
    wanted = {obj.key: obj for obj in look.objects}
    extra = [op.obj for key, op in steps.items() if key not in wanted]
    ordered = [*sorted(wanted.values(), key=lambda obj: (obj.rank, obj.key)), *extra]
    return [
        KernelObjectView(
            object=line(obj), state=_state(obj, steps, look), counters=_counters(obj, look.counters)
        )
        for obj in ordered
    ]


def _state(obj: KernelObject, steps: Mapping[tuple[str, ...], Op], look: Look) -> State:
    if look.ops is None:
        return "unknown"
    step = steps.get(obj.key)
    return STATES[step.verb] if step else "present"


def _counters(obj: KernelObject, counters: Mapping[str, Counters]) -> dict[str, int]:
    match obj:
        case Bridge() | Veth() | Parent():
            return dict(counters.get("", {}).get(obj.name, {}))
        case Macvlan():
            return dict(counters.get(obj.ns, {}).get(obj.name, {}))
        case _:
            return {}

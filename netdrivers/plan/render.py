"""Plans as text like that of ``ip`` and ``nft``, for golden files and for people."""

from collections.abc import Iterable
from functools import singledispatch

from netdrivers.plan.objects import (
    Address,
    Bridge,
    DnsRedirect,
    Element,
    Forwarding,
    KernelObject,
    Macvlan,
    Parent,
    Route,
    Sandbox,
    Sysctl,
    Table,
    Veth,
)
from netdrivers.plan.ops import Op
from netdrivers.plan.tunnels import FdbEntry, Neighbour, Vxlan


def render(objects: Iterable[KernelObject]) -> str:
    """One line an object, sorted by rank and key, so that goldens never flicker."""
    ordered = sorted(objects, key=lambda obj: (obj.rank, obj.key))
    return "".join(f"{line(obj)}\n" for obj in ordered)


def render_op(op: Op) -> str:
    """One step as a line: ``+ …``, ``- …`` or ``~ old -> new``."""
    if op.verb == "change" and op.was is not None:
        return f"~ {line(op.was)} -> {line(op.obj)}"
    return f"{'+' if op.verb == 'add' else '-'} {line(op.obj)}"


@singledispatch
def line(obj: object) -> str:
    """One object as a line of text."""
    raise TypeError(type(obj).__name__)


@line.register
def _(obj: Table) -> str:
    return "nft table"


@line.register
def _(obj: Forwarding) -> str:
    return f"sysctl {obj.family} forwarding on, foreign traffic guarded if it was off"


@line.register
def _(obj: Sandbox) -> str:
    return f"netns {obj.id} lo {'up' if obj.loopback_up else 'down'}"


@line.register
def _(obj: Bridge) -> str:
    text = f"link {obj.name} type bridge mtu {obj.mtu_bytes} address {obj.mac}"
    return f"{text} addrgenmode {_mode(obj.ipv6)} {_up(obj.up)}"


@line.register
def _(obj: Veth) -> str:
    peer = f"peer {obj.interface} netns {obj.owner} address {obj.mac}"
    port = (" hairpin on" if obj.hairpin else "") + (" apart" if obj.apart else "")
    port += (" shut" if obj.shut else "") + (f" {obj.lone} end only" if obj.lone else "")
    text = f"link {obj.name} type veth master {obj.bridge}{port} mtu {obj.mtu_bytes} {peer}"
    return f"{text} addrgenmode {_mode(obj.ipv6)} {_up(obj.up)}"


@line.register
def _(obj: Parent) -> str:
    if not obj.kind:
        return f"link {obj.name} of the operator"
    made = f"type vlan id {obj.vlan_id} link {obj.lower}" if obj.kind == "vlan" else "type dummy"
    return f"link {obj.name} {made} {_up(obj.up)}"


@line.register
def _(obj: Macvlan) -> str:
    mtu = obj.mtu_bytes or f"of {obj.parent}"
    text = f"link {obj.name} type macvlan mode {obj.mode} link {obj.parent} mtu {mtu}"
    return f"{_in(obj.ns)}{text} address {obj.mac} addrgenmode {_mode(obj.ipv6)} {_up(obj.up)}"


@line.register
def _(obj: Sysctl) -> str:
    return f"{_in(obj.ns)}sysctl {obj.name}={obj.value}"


@line.register
def _(obj: Address) -> str:
    return f"{_in(obj.ns)}addr {obj.ip} dev {obj.link}{_more(obj)}"


@line.register
def _(obj: Route) -> str:
    via = f" via {obj.via}" if obj.via else ""
    return f"{_in(obj.ns)}route {obj.to}{via} dev {obj.link}"


@line.register
def _(obj: DnsRedirect) -> str:
    port = obj.port if obj.port > 0 else "PORT"  # in a plan: chosen once the sandbox is there
    return f"{_in(obj.ns)}nft redirect 127.0.0.11:53 to 127.0.0.11:{port}"


@line.register
def _(obj: Element) -> str:
    value = f" : {_parts(obj.value)}" if obj.value else ""
    return f"nft element {obj.set} {{ {_parts(obj.match)}{value} }}"


@line.register
def _(obj: Vxlan) -> str:
    where = "sealed" if obj.sealed else "clear"
    text = f"link {obj.name} type vxlan id {obj.vni} local {obj.local} dstport {obj.port} {where}"
    return f"{text} master {obj.bridge} mtu {obj.mtu_bytes} nolearning proxy {_up(obj.up)}"


@line.register
def _(obj: FdbEntry) -> str:
    return f"fdb {obj.mac} dev {obj.link} dst {obj.vtep}"


@line.register
def _(obj: Neighbour) -> str:
    return f"neigh {obj.ip} lladdr {obj.mac} dev {obj.link}"


def _parts(parts: Iterable[object]) -> str:
    return " . ".join(map(str, parts))


def _more(obj: Address) -> str:
    lost = "" if obj.routed else ", the route to its subnet is gone"
    return f"{' optimistic' if obj.dad else ''}{lost}"


def _in(ns: str) -> str:
    return f"-n {ns} " if ns else ""


def _mode(ipv6: bool) -> str:
    return "eui64" if ipv6 else "none"


def _up(up: bool) -> str:
    return "up" if up else "down"

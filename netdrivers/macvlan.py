"""Macvlan networks: containers are on the wire of a parent link, with a MAC of their own each.

Nothing of ours is between them and the wire: no gateway, no address translation, no published
ports. A parent that is down is left down; its containers have a carrier when it has one.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_interface, ip_network
from typing import ClassVar, Final

from netdrivers.contract.specs import EndpointSpec, IPAddress, NetworkSpec
from netdrivers.errors import Invalid
from netdrivers.plan.objects import Address, KernelObject, Macvlan, Parent, Route, Sysctl

PARENT: Final = "parent"
MODE: Final = "macvlan_mode"
HOST_ACCESS: Final = "host_access"
MTU: Final = "com.docker.network.driver.mtu"
KNOWN: Final = frozenset({PARENT, MODE, HOST_ACCESS, MTU})
MODES: Final = ("bridge", "private", "vepa", "passthru")
BOOL: Final[Mapping[str, bool]] = {"true": True, "1": True, "false": False, "0": False}
LINK_NAME_MAX: Final = 15  # IFNAMSIZ without its NUL
VLAN_ID_MAX: Final = 4094
V6: Final = {"accept_dad": "1", "accept_ra": "0", "optimistic_dad": "1"}
NO_V6: Final = {"disable_ipv6": "1"}
MTU_MIN, MTU_MIN_V6, MTU_MAX = 68, 1280, 65535


class MacvlanDriver:
    """Containers share the wire of a host's link; the host itself is not on it unless asked for."""

    name: ClassVar[str] = "macvlan"
    on_wire: ClassVar[bool] = True

    def check(self, net: NetworkSpec) -> None:
        """Refuse what a macvlan cannot do (Invalid names the option)."""
        for option in sorted(set(net.options) - KNOWN):
            raise Invalid(
                f"unknown option of the macvlan driver; it has: {', '.join(sorted(KNOWN))}",
                option=option,
            )
        if _mode(net) not in MODES:
            raise Invalid(f"not a mode: {', '.join(MODES)}", option=MODE, value=_mode(net))
        _check_parent(net)
        _check_host_access(net)
        least = MTU_MIN_V6 if any(each.subnet.version == 6 for each in net.subnets) else MTU_MIN
        if not least <= net.mtu_bytes <= MTU_MAX:
            why = " with IPv6" if least == MTU_MIN_V6 else ""
            raise Invalid(f"mtu must be {least} to {MTU_MAX}{why}", option=MTU, value=net.mtu_bytes)
        for spec in net.subnets:
            if spec.gateway not in spec.subnet:
                raise Invalid(
                    "gateway is not in the subnet", gateway=spec.gateway, subnet=spec.subnet
                )

    def network(self, net: NetworkSpec) -> Iterable[KernelObject]:
        """The parent, and the host's own macvlan where asked for."""
        yield _parent(net)
        if _has_host(net):
            yield from _host_side(net)

    def endpoint(self, net: NetworkSpec, ep: EndpointSpec) -> Iterable[KernelObject]:
        """The macvlan, addresses and default routes in the sandbox, and the host's way to it."""
        if ep.ports:
            raise Invalid(
                "a macvlan network publishes no ports: the container has an address of its own "
                "on the wire; connect it to a bridge network, too, to publish",
                endpoint=ep.id,
                ports=" ".join(f"{port.host_port}/{port.protocol}" for port in ep.ports),
            )
        yield from _inside(net, ep)
        if _has_host(net):
            yield from (_host_route(net, ip.ip, ep.sandbox_id) for ip in ep.addresses)


def host_link(net: NetworkSpec) -> str:
    """The name of the host's own macvlan."""
    return f"mv-{net.id[:12]}"


def _inside(net: NetworkSpec, ep: EndpointSpec) -> Iterator[KernelObject]:
    sandbox, link = ep.sandbox_id, ep.interface
    ipv6 = any(ip.version == 6 for ip in ep.addresses)
    yield Macvlan(
        ns=sandbox,
        name=link,
        owner=sandbox,
        mark=ep.id,
        parent=_parent(net).name,
        mode=_mode(net),
        mac=ep.mac.lower(),
        mtu_bytes=_mtu(net),
        ipv6=ipv6,
    )
    # the wire has routers and neighbours that are not ours: none of them gives us addresses, and
    # an address that one of them has is not taken from it
    yield from _settings(V6 if ipv6 else NO_V6, ns=sandbox, link=link, owner=sandbox)
    for ip in ep.addresses:
        yield Address(ns=sandbox, link=link, ip=ip, owner=sandbox, dad=ip.version == 6)
    for gateway in ep.default_gateway:
        everything = ip_network("0.0.0.0/0" if gateway.version == 4 else "::/0")
        yield Route(ns=sandbox, to=everything, via=gateway, link=link, owner=sandbox)


def _host_side(net: NetworkSpec) -> Iterator[KernelObject]:
    link = host_link(net)
    addresses = [spec.host for spec in net.subnets if spec.host is not None]
    ipv6 = any(address.version == 6 for address in addresses)
    yield Macvlan(
        ns="",
        name=link,
        owner=net.id,
        mark=net.id,
        parent=_parent(net).name,
        mode="bridge",
        mac=":".join(["02", "43", *(net.id[at : at + 2] for at in range(0, 8, 2))]),
        mtu_bytes=_mtu(net),
        ipv6=ipv6,
    )
    yield from _settings(V6 if ipv6 else NO_V6, ns="", link=link, owner=net.id)
    # for our containers only: the rest of the wire has the parent's MAC for the host's addresses
    name = f"net.ipv4.conf.{link}.arp_filter"
    yield Sysctl(ns="", name=name, value="1", owner=net.id, link=link)
    for address in addresses:
        ip = ip_interface(address)  # alone in its prefix: the way to the wire stays the parent's
        yield Address(ns="", link=link, ip=ip, owner=net.id, dad=ip.version == 6)


def _host_route(net: NetworkSpec, address: IPAddress, owner: str) -> Route:
    return Route(ns="", to=ip_network(address), via=None, link=host_link(net), owner=owner)


def _settings(
    values: Mapping[str, str], *, ns: str, link: str, owner: str
) -> Iterator[KernelObject]:
    for setting, value in values.items():
        name = f"net.ipv6.conf.{link}.{setting}"
        yield Sysctl(ns=ns, name=name, value=value, owner=owner, link=link, optional=True)


def _parent(net: NetworkSpec) -> Parent:
    name = net.options.get(PARENT, "")
    if not name:
        return Parent(name=f"dm-{net.id[:12]}", owner=net.id, kind="dummy")
    lower, dot, tag = name.rpartition(".")
    if dot and tag.isdecimal():
        return Parent(name=name, owner=net.id, kind="vlan", lower=lower, vlan_id=int(tag))
    return Parent(name=name, owner=net.id)


def _mode(net: NetworkSpec) -> str:
    return net.options.get(MODE, "") or MODES[0]


def _mtu(net: NetworkSpec) -> int:
    return net.mtu_bytes if net.options.get(MTU) else 0


def _has_host(net: NetworkSpec) -> bool:
    return BOOL[net.options.get(HOST_ACCESS, "false")]


def _check_parent(net: NetworkSpec) -> None:
    name = net.options.get(PARENT, "")
    if not name and not net.internal:
        raise Invalid("name the host's link to the wire, like eth0", option=PARENT)
    if name and net.internal:
        raise Invalid("an internal network has no parent: it would be on the wire", option=PARENT)
    if not name:
        return
    if len(name) > LINK_NAME_MAX or name in {".", "..", "lo"} or set(name) & set("/: %\0\t\n"):
        raise Invalid("not the name of a link to a wire", option=PARENT, value=name)
    parent = _parent(net)
    if parent.kind == "vlan" and not (parent.lower and 0 < parent.vlan_id <= VLAN_ID_MAX):
        raise Invalid(f"a VLAN is 1 to {VLAN_ID_MAX}, like eth0.30", option=PARENT, value=name)


def _check_host_access(net: NetworkSpec) -> None:
    if net.options.get(HOST_ACCESS, "false") not in BOOL:
        raise Invalid("option must be true or false", option=HOST_ACCESS)
    if not _has_host(net):
        return
    if _mode(net) != "bridge" or net.internal:
        raise Invalid("the host is reached in bridge mode over a parent", option=HOST_ACCESS)
    for spec in net.subnets:
        if spec.host is None or spec.host not in spec.subnet or spec.host == spec.gateway:
            raise Invalid(
                "host access needs an address of the subnet for the host: --aux-address host=…",
                option=HOST_ACCESS,
                subnet=spec.subnet,
            )

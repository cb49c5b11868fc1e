"""Bridge networks: one Linux bridge per network, one veth pair per endpoint, NAT to the outside."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, ip_interface, ip_network
from typing import ClassVar, Final

from netdrivers.contract import EndpointSpec, NetworkSpec, PublishedPort
from netdrivers.errors import Invalid
from netdrivers.plan.objects import (
    Address,
    Bridge,
    Element,
    Forwarding,
    KernelObject,
    Route,
    Sysctl,
    Table,
    Veth,
)

NAME: Final = "com.docker.network.bridge.name"
MASQUERADE: Final = "com.docker.network.bridge.enable_ip_masquerade"
# the last two are the agent's to act on (mtu_bytes, default host address of published ports)
KNOWN: Final = frozenset(
    {
        NAME,
        MASQUERADE,
        "com.docker.network.driver.mtu",
        "com.docker.network.bridge.host_binding_ipv4",
    }
)
BOOL: Final[Mapping[str, bool]] = {"true": True, "1": True, "false": False, "0": False}
LINK_NAME_MAX: Final = 15  # IFNAMSIZ without its NUL
MTU_MIN, MTU_MIN_V6, MTU_MAX = 68, 1280, 65535


class BridgeDriver:
    """Containers of one network share a bridge; other networks and the outside do not reach in."""

    name: ClassVar[str] = "bridge"
    on_wire: ClassVar[bool] = False

    def check(self, net: NetworkSpec) -> None:
        """Refuse what a bridge cannot do (Invalid names the option)."""
        _check_options(net)
        least = MTU_MIN_V6 if _has_v6(net) else MTU_MIN
        if not least <= net.mtu_bytes <= MTU_MAX:
            raise Invalid(f"mtu must be {least} to {MTU_MAX}", mtu=net.mtu_bytes)
        for spec in net.subnets:
            if spec.gateway not in spec.subnet:
                raise Invalid(
                    "gateway is not in the subnet", gateway=spec.gateway, subnet=spec.subnet
                )

    def network(self, net: NetworkSpec) -> Iterable[KernelObject]:
        """The bridge with its gateway addresses, and its place in the sets of our table."""
        bridge = link_name(net)
        yield Table()
        yield from _forwarding(net)
        yield Bridge(
            name=bridge,
            owner=net.id,
            mac=_bridge_mac(net),
            mtu_bytes=net.mtu_bytes,
            ipv6=_has_v6(net),
        )
        for spec in net.subnets:
            ip = ip_interface(f"{spec.gateway}/{spec.subnet.prefixlen}")
            yield Address(ns="", link=bridge, ip=ip, owner=net.id)
        yield from _membership(net, bridge)
        if _has_v6(net):
            yield from _quiet_v6(ns="", scope=bridge, owner=net.id, link=bridge)

    def endpoint(self, net: NetworkSpec, ep: EndpointSpec) -> Iterable[KernelObject]:
        """The veth pair, addresses and default routes in the sandbox, and the published ports."""
        yield Veth(
            name=f"ve{ep.id[:13]}",
            owner=ep.sandbox_id,
            endpoint=ep.id,
            bridge=link_name(net),
            interface=ep.interface,
            mac=ep.mac.lower(),
            mtu_bytes=net.mtu_bytes,
            ipv6=any(ip.version == 6 for ip in ep.addresses),
            hairpin=bool(ep.ports) and not net.internal,
        )
        if any(ip.version == 6 for ip in ep.addresses):
            yield from _quiet_v6(ns=ep.sandbox_id, scope="default", owner=ep.sandbox_id)
        for ip in ep.addresses:
            yield Address(ns=ep.sandbox_id, link=ep.interface, ip=ip, owner=ep.sandbox_id)
        yield from _default_routes(ep)
        if not net.internal:
            yield from (_published(port, ep) for port in ep.ports)
            yield from _to_itself(ep)


def link_name(net: NetworkSpec) -> str:
    """The bridge's name: the operator's choice, else ``br-`` and the start of the id."""
    return net.options.get(NAME, f"br-{net.id[:12]}")


def _check_options(net: NetworkSpec) -> None:
    for option in sorted(set(net.options) - KNOWN):
        raise Invalid("unknown option of the bridge driver", option=option)
    if net.options.get(MASQUERADE, "true") not in BOOL:
        raise Invalid("option must be true or false", option=MASQUERADE)
    name = link_name(net)
    if not 0 < len(name) <= LINK_NAME_MAX or name in {".", ".."} or set(name) & set("/: .%\0\t\n"):
        raise Invalid("not a name for a link (1 to 15 characters, no dot or slash)", option=NAME)


def _has_v6(net: NetworkSpec) -> bool:
    return any(spec.subnet.version == 6 for spec in net.subnets)


def _bridge_mac(net: NetworkSpec) -> str:
    # fixed, else the bridge takes the lowest MAC of its ports and neighbours' caches go stale
    return ":".join(["02", "42", *(net.id[at : at + 2] for at in range(0, 8, 2))])


def _forwarding(net: NetworkSpec) -> Iterator[KernelObject]:
    if net.internal:
        return
    yield Forwarding(family="ipv4")
    if _has_v6(net):
        yield Forwarding(family="ipv6")


def _membership(net: NetworkSpec, bridge: str) -> Iterator[KernelObject]:
    yield Element(set="bridges", match=(bridge,), owner=net.id)
    yield Element(set="same", match=(bridge, bridge), owner=net.id)
    if net.internal:
        yield Element(set="internal", match=(bridge,), owner=net.id)
        return
    # lets 127.0.0.1:port of the host reach a container; outsiders are stopped by our table
    name = f"net.ipv4.conf.{bridge}.route_localnet"
    yield Sysctl(ns="", name=name, value="1", owner=net.id, link=bridge)
    if BOOL[net.options.get(MASQUERADE, "true")]:
        yield Element(set="nat", match=(bridge,), owner=net.id)


def _quiet_v6(*, ns: str, scope: str, owner: str, link: str = "") -> Iterator[KernelObject]:
    # addresses are ours to give: looking for duplicates would silence a link for two seconds,
    # and a neighbour that plays router must not be believed
    for setting in ("accept_dad", "accept_ra"):
        name = f"net.ipv6.conf.{scope}.{setting}"
        yield Sysctl(ns=ns, name=name, value="0", owner=owner, link=link)


def _default_routes(ep: EndpointSpec) -> Iterator[KernelObject]:
    for gateway in ep.default_gateway:
        everything = ip_network("0.0.0.0/0" if gateway.version == 4 else "::/0")
        yield Route(
            ns=ep.sandbox_id, to=everything, via=gateway, link=ep.interface, owner=ep.sandbox_id
        )


def _to_itself(ep: EndpointSpec) -> Iterator[Element]:
    for ip in {port.container_ip for port in ep.ports}:
        yield Element(set=f"hairpin{ip.version}", match=(ip, ip), owner=ep.sandbox_id)


def _published(port: PublishedPort, ep: EndpointSpec) -> Element:
    if port.host_ip.version != port.container_ip.version:
        raise Invalid(
            "a host address of one family cannot lead to the other",
            host_ip=port.host_ip,
            container_ip=port.container_ip,
        )
    family = "4" if isinstance(port.host_ip, IPv4Address) else "6"
    here = () if port.host_ip.is_unspecified else (port.host_ip,)
    return Element(
        set=f"publish{family}" + ("" if here else "any"),
        match=(*here, port.protocol, port.host_port),
        value=(port.container_ip, port.container_port),
        owner=ep.sandbox_id,
    )

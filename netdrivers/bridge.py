"""Bridge networks: one Linux bridge per network, one veth pair per endpoint, NAT to the outside."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, ip_interface, ip_network
from typing import ClassVar, Final

from netdrivers.contract.specs import EndpointSpec, NetworkSpec, PublishedPort, SubnetSpec
from netdrivers.errors import Invalid
from netdrivers.plan.objects import (
    Address,
    Bridge,
    Element,
    Family,
    Forwarding,
    KernelObject,
    Route,
    Sysctl,
    Table,
    Veth,
)

NAME: Final = "com.docker.network.bridge.name"
MASQUERADE: Final = "com.docker.network.bridge.enable_ip_masquerade"
ICC: Final = "com.docker.network.bridge.enable_icc"
GATEWAY_MODE: Final = {
    4: "com.docker.network.bridge.gateway_mode_ipv4",
    6: "com.docker.network.bridge.gateway_mode_ipv6",
}
MODES: Final = ("nat", "routed", "nat-unprotected", "isolated")
TRUSTED: Final = "com.docker.network.bridge.trusted_host_interfaces"
MTU: Final = "com.docker.network.driver.mtu"
HOST_BINDING: Final = "com.docker.network.bridge.host_binding_ipv4"
# the last two are the agent's to act on (mtu_bytes, default host address of published ports)
KNOWN: Final = frozenset(
    {
        NAME,
        MASQUERADE,
        ICC,
        *GATEWAY_MODE.values(),
        TRUSTED,
        MTU,
        HOST_BINDING,
    }
)
FAMILY: Final[Mapping[int, Family]] = {4: "ipv4", 6: "ipv6"}
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
            why = " with IPv6" if least == MTU_MIN_V6 else ""
            raise Invalid(f"mtu must be {least} to {MTU_MAX}{why}", option=MTU, value=net.mtu_bytes)
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
            ipv6=any(spec.subnet.version == 6 for spec in _with_gateway(net)),
        )
        for spec in _with_gateway(net):
            ip = ip_interface(f"{spec.gateway}/{spec.subnet.prefixlen}")
            yield Address(ns="", link=bridge, ip=ip, owner=net.id)
        yield from _membership(net, bridge)
        yield from _outward(net, bridge)
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
            apart=_is_apart(net),
        )
        if any(ip.version == 6 for ip in ep.addresses):
            yield from _quiet_v6(ns=ep.sandbox_id, scope="default", owner=ep.sandbox_id)
        for ip in ep.addresses:
            yield Address(ns=ep.sandbox_id, link=ep.interface, ip=ip, owner=ep.sandbox_id)
        yield from _default_routes(ep)
        if not net.internal:
            yield from (_published(net, port, ep) for port in ep.ports)
            yield from _way_back(net, ep)


def link_name(net: NetworkSpec) -> str:
    """The bridge's name: the operator's choice, else ``br-`` and the start of the id."""
    return net.options.get(NAME, f"br-{net.id[:12]}")


def gateway_mode(net: NetworkSpec, version: int) -> str:
    """How the network is joined to the world in one family: one of ``MODES``."""
    return net.options.get(GATEWAY_MODE[version], MODES[0])


def _check_options(net: NetworkSpec) -> None:
    for option in sorted(set(net.options) - KNOWN):
        raise Invalid(
            f"unknown option of the bridge driver; it has: {', '.join(sorted(KNOWN))}",
            option=option,
        )
    for option in (MASQUERADE, ICC):
        if net.options.get(option, "true") not in BOOL:
            raise Invalid("option must be true or false", option=option)
    for version, option in GATEWAY_MODE.items():
        mode = gateway_mode(net, version)
        if mode not in MODES:
            raise Invalid(f"not a gateway mode: {', '.join(MODES)}", option=option, value=mode)
        if mode == "isolated" and not net.internal:
            raise Invalid("only an internal network is isolated", option=option, value=mode)
    if not _is_link_name(link_name(net)):
        raise Invalid("not a name for a link (1 to 15 characters, no dot or slash)", option=NAME)
    _check_host_binding(net)
    for name in _trusted(net):
        if not _is_link_name(name.replace(".", "-")):
            raise Invalid("not names of links, like eth1:wg0", option=TRUSTED, value=name)


def _is_link_name(name: str) -> bool:
    return 0 < len(name) <= LINK_NAME_MAX and not set(name) & set("/: .%\0\t\n")


def _check_host_binding(net: NetworkSpec) -> None:
    value = net.options.get(HOST_BINDING) or "127.0.0.1"
    try:
        IPv4Address(value)
    except ValueError as exc:
        raise Invalid("not an IPv4 address", option=HOST_BINDING, value=value) from exc


def _trusted(net: NetworkSpec) -> list[str]:
    return net.options[TRUSTED].split(":") if TRUSTED in net.options else []


def _is_apart(net: NetworkSpec) -> bool:
    return not BOOL[net.options.get(ICC, "true")]


def _versions(net: NetworkSpec) -> list[int]:
    return sorted({spec.subnet.version for spec in net.subnets})


def _has_v6(net: NetworkSpec) -> bool:
    return 6 in _versions(net)


def _with_gateway(net: NetworkSpec) -> list[SubnetSpec]:
    """Subnets in which the bridge has an address."""
    return [each for each in net.subnets if gateway_mode(net, each.subnet.version) != "isolated"]


def _bridge_mac(net: NetworkSpec) -> str:
    # fixed, else the bridge takes the lowest MAC of its ports and neighbours' caches go stale
    return ":".join(["02", "42", *(net.id[at : at + 2] for at in range(0, 8, 2))])


def _forwarding(net: NetworkSpec) -> Iterator[KernelObject]:
    if net.internal:
        return
    for version in _versions(net):
        yield Forwarding(family=FAMILY[version])


def _membership(net: NetworkSpec, bridge: str) -> Iterator[KernelObject]:
    yield Element(set="bridges", match=(bridge,), owner=net.id)
    yield Element(set="same", match=(bridge, bridge), owner=net.id)
    if net.internal:
        yield Element(set="internal", match=(bridge,), owner=net.id)
    if _is_apart(net):
        yield Element(set="apart", match=(bridge,), owner=net.id)
    for spec in _with_gateway(net):
        if net.internal or gateway_mode(net, spec.subnet.version) == "nat":
            name = f"private{spec.subnet.version}"
            yield Element(set=name, match=(spec.gateway,), owner=net.id)


def _outward(net: NetworkSpec, bridge: str) -> Iterator[KernelObject]:
    if net.internal:
        return
    if 4 in _versions(net):
        # lets 127.0.0.1:port of the host reach a container; outsiders are stopped by our table
        name = f"net.ipv4.conf.{bridge}.route_localnet"
        yield Sysctl(ns="", name=name, value="1", owner=net.id, link=bridge)
    for link in dict.fromkeys(_trusted(net)):
        yield Element(set="trusted", match=(link, bridge), owner=net.id)
    for version in _versions(net):
        # born so where the host forwards; who turns it off for the bridge cuts the network off
        name = f"net.{FAMILY[version]}.conf.{bridge}.forwarding"
        yield Sysctl(ns="", name=name, value="1", owner=net.id, link=bridge)
        mode, match = gateway_mode(net, version), (FAMILY[version], bridge)
        if mode == "routed":
            yield Element(set="routed", match=match, owner=net.id)
        elif BOOL[net.options.get(MASQUERADE, "true")]:
            yield Element(set="hidden", match=match, owner=net.id)
        if mode == "nat-unprotected":
            yield Element(set="unprotected", match=match, owner=net.id)


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


def _way_back(net: NetworkSpec, ep: EndpointSpec) -> Iterator[Element]:
    """Whose clients must be seen as the host: else the answers would not come back through it."""
    for ip in ep.served:
        # a client of this network, which the container knows as its neighbour
        match = (link_name(net), ip)
        yield Element(set=f"direct{ip.version}", match=match, owner=ep.sandbox_id)
    with_route = {gateway.version for gateway in ep.default_gateway}
    for ip in {port.container_ip for port in ep.ports} & {*ep.served}:
        yield Element(set=f"hairpin{ip.version}", match=(ip, ip), owner=ep.sandbox_id)
        if ip.version not in with_route:
            yield Element(set=f"far{ip.version}", match=(ip,), owner=ep.sandbox_id)


def _published(net: NetworkSpec, port: PublishedPort, ep: EndpointSpec) -> Element:
    if gateway_mode(net, port.container_ip.version) == "routed":
        return Element(
            set=f"open{port.container_ip.version}",
            match=(port.container_ip, port.protocol, port.container_port),
            owner=ep.sandbox_id,
        )
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

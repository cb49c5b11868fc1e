"""From records to what the kernel should hold. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_interface, ip_network

import msgspec

from netdrivers.contract.specs import (
    Desired,
    EndpointSpec,
    IPAddress,
    NetworkSpec,
    OverlaySpec,
    PublishedPort,
    RemoteEndpoint,
    SandboxSpec,
    SubnetSpec,
)
from nodeagent.model.container import BoundPort, ContainerRecord, EndpointRecord
from nodeagent.model.containerrequest import PortBinding
from nodeagent.model.network import NetworkRecord

HOST = "host"  # the auxiliary address that the host itself has on a wire
PREDEFINED = "bridge"  # the default network: no names on it, as in Docker
GATEWAY_MODE = "com.docker.network.bridge.gateway_mode_ipv"
VERSIONS = (4, 6)


def network_spec(record: NetworkRecord) -> NetworkSpec:
    """The kernel's half of a network record."""
    return NetworkSpec(
        id=record.id,
        name=record.name,
        driver=record.driver,
        subnets=tuple(
            SubnetSpec(
                subnet=ip_network(each.subnet),
                gateway=ip_address(each.gateway),
                host=ip_address(host) if (host := each.aux_addresses.get(HOST, "")) else None,
            )
            for each in record.subnets
        ),
        internal=record.internal,
        mtu_bytes=record.mtu_bytes,
        options=record.options,
        overlay=_overlay(record),
    )


def _overlay(record: NetworkRecord) -> OverlaySpec | None:
    if record.shared is None or record.reach is None or not record.reach.vtep:
        return None
    return OverlaySpec(
        vni=record.shared.vni,
        vtep=ip_address(record.reach.vtep),
        port=record.shared.port,
        sealed=record.shared.sealed,
        multicast=record.shared.multicast,
        remotes=tuple(
            RemoteEndpoint(
                mac=each.mac,
                addresses=tuple(ip_address(text) for text in each.addresses),
                vtep=ip_address(each.vtep),
            )
            for each in record.reach.remotes
        ),
    )


def endpoints_in_order(
    record: ContainerRecord, networks: Mapping[str, NetworkRecord]
) -> list[EndpointRecord]:
    """Endpoints by gateway priority, then interface, those on internal networks last.

    If ports are published, a network that publishes comes before a wire of the same priority:
    answers to those who come by a port leave by the route, and so are seen by whom they came.
    """

    def place(each: EndpointRecord) -> tuple[int, bool, bool, int]:
        network = networks[each.network_id]
        return (
            -each.requested.gateway_priority,
            network.internal,
            network.on_wire and bool(record.ports),
            _number(each.interface),
        )

    return sorted(
        (each for each in record.endpoints.values() if each.network_id in networks), key=place
    )


def _number(interface: str) -> int:
    return int(interface.removeprefix("eth"))


def address_of(endpoint: EndpointRecord, version: int) -> IPAddress | None:
    """The endpoint's address of one family."""
    found = (ip_interface(text).ip for text in endpoint.addresses)
    return next((ip for ip in found if ip.version == version), None)


def _gateway_of(endpoint: EndpointRecord, version: int) -> IPAddress | None:
    found = (ip_address(text) for text in endpoint.gateways)
    return next((ip for ip in found if ip.version == version), None)


def route_endpoint(
    record: ContainerRecord, networks: Mapping[str, NetworkRecord], version: int
) -> EndpointRecord | None:
    """The endpoint that has the default route of one family: not each network has both."""
    for each in endpoints_in_order(record, networks):
        if not networks[each.network_id].internal and _gateway_of(each, version):
            return each
    return None


def port_endpoint(
    record: ContainerRecord, networks: Mapping[str, NetworkRecord], version: int
) -> EndpointRecord | None:
    """The endpoint that published ports of one family lead to: the one with the route if it can."""
    for each in endpoints_in_order(record, networks):
        network = networks[each.network_id]
        serves = not (network.internal or network.on_wire)
        if serves and address_of(each, version):
            return each
    return None


def is_routed(network: NetworkRecord, version: int) -> bool:
    """Whether ports are reached at the container's own address, by no port of the host."""
    return _mode(network, version) == "routed"


def _mode(network: NetworkRecord, version: int) -> str:
    return network.options.get(f"{GATEWAY_MODE}{version}", "nat")


def mapped_versions(record: ContainerRecord, networks: Mapping[str, NetworkRecord]) -> set[int]:
    """Families in which a host port may lead to the container; both while it has no network."""
    endpoints = record.endpoints.values()
    had = {version for version in VERSIONS if any(address_of(each, version) for each in endpoints)}
    serving = {version: port_endpoint(record, networks, version) for version in had}
    routed = {
        version
        for version, each in serving.items()
        if each and is_routed(networks[each.network_id], version)
    }
    return had - routed if had else set(VERSIONS)


def build_gateways(network: NetworkRecord, addresses: Iterable[str]) -> list[str]:
    """Gateways of the subnets that the addresses of an endpoint are in, where the host is one."""
    own = [ip_interface(text).ip for text in addresses]
    gateways = {ip_network(each.subnet): ip_address(each.gateway) for each in network.subnets}
    return [
        str(gateway)
        for net, gateway in gateways.items()
        if any(ip in net for ip in own) and _mode(network, net.version) != "isolated"
    ]


def wanted_ports(record: ContainerRecord) -> list[PortBinding]:
    """Asked for by ``-p``, and with ``-P`` every exposed port that has none."""
    if not has_sandbox(record) or record.network_mode == "none":
        return []
    # the same host port asked for twice is one; two random ones are two
    asked: list[PortBinding] = []
    seen: set[tuple[object, ...]] = set()
    for port in record.request.ports:
        key = msgspec.structs.astuple(port)
        if not port.host_port or key not in seen:
            asked.append(port)
        seen.add(key)
    if record.request.publish_all:
        taken = {f"{port.container_port}/{port.protocol}" for port in asked}
        for text in record.expose:
            number, _, protocol = text.partition("/")
            if text not in taken:
                asked.append(
                    msgspec.convert(
                        {"container_port": int(number), "protocol": protocol}, type=PortBinding
                    )
                )
    return asked


def mapped_ports(record: ContainerRecord, address: IPAddress) -> tuple[PublishedPort, ...]:
    """The bound ports of a container that lead to ``address``; families must match."""
    hosts = {text: ip_address(text) for text in {port.host_ip for port in record.ports}}
    return tuple(
        PublishedPort(
            protocol=port.protocol,
            host_ip=hosts[port.host_ip],
            host_port=port.host_port,
            container_ip=address,
            container_port=port.container_port,
        )
        for port in record.ports
        if hosts[port.host_ip].version == address.version
    )


def open_ports(record: ContainerRecord, address: IPAddress) -> tuple[PublishedPort, ...]:
    """The ports of a container that are published at ``address``, which is its own."""
    wanted = dict.fromkeys((port.protocol, port.container_port) for port in wanted_ports(record))
    return tuple(
        PublishedPort(
            protocol=protocol,
            host_ip=address,
            host_port=number,
            container_ip=address,
            container_port=number,
        )
        for protocol, number in wanted
    )


def own_ports(record: ContainerRecord, networks: Mapping[str, NetworkRecord]) -> list[BoundPort]:
    """What a running container has published at its own addresses, by no port of the host."""
    found: list[BoundPort] = []
    for version in VERSIONS:
        serves = port_endpoint(record, networks, version)
        if serves and is_routed(networks[serves.network_id], version):
            address = address_of(serves, version)
            found += map(shown_port, open_ports(record, address) if address else ())
    return found


def shown_port(port: PublishedPort) -> BoundPort:
    """A port of the kernel's half as records have it."""
    return BoundPort(
        container_port=port.container_port,
        protocol=port.protocol,
        host_ip=str(port.host_ip),
        host_port=port.host_port,
    )


def endpoint_specs(
    record: ContainerRecord, networks: Mapping[str, NetworkRecord]
) -> list[EndpointSpec]:
    """The kernel's half of a container's endpoints."""
    gateways: dict[str, list[IPAddress]] = {}
    ports: dict[str, list[PublishedPort]] = {}
    served: list[IPAddress] = []
    for version in VERSIONS:
        leads = route_endpoint(record, networks, version)
        if leads and (gateway := _gateway_of(leads, version)):
            gateways.setdefault(leads.id, []).append(gateway)
        serves = port_endpoint(record, networks, version)
        if serves and (address := address_of(serves, version)):
            routed = is_routed(networks[serves.network_id], version)
            found = (open_ports if routed else mapped_ports)(record, address)
            ports.setdefault(serves.id, []).extend(found)
            served += [address] if found and not routed else []
    return [
        EndpointSpec(
            id=each.id,
            network_id=each.network_id,
            sandbox_id=record.id,
            interface=each.interface,
            mac=each.mac,
            addresses=tuple(ip_interface(text) for text in each.addresses),
            default_gateway=tuple(gateways.get(each.id, ())),
            ports=tuple(ports.get(each.id, ())),
            served=tuple(served),
        )
        for each in endpoints_in_order(record, networks)
    ]


def build_desired(
    networks: Mapping[str, NetworkRecord], live: Iterable[ContainerRecord]
) -> Desired:
    """Everything the kernel should hold, for the containers whose sandbox should exist."""
    live = [record for record in live if has_sandbox(record)]
    return Desired(
        networks={
            id_: network_spec(record)
            for id_, record in networks.items()
            if record.phase != "removing"
        },
        sandboxes={
            record.id: SandboxSpec(
                id=record.id, dns_port=record.dns_port, sysctls=_sandbox_sysctls(record)
            )
            for record in live
        },
        endpoints={spec.id: spec for record in live for spec in endpoint_specs(record, networks)},
    )


def _sandbox_sysctls(record: ContainerRecord) -> dict[str, str]:
    """Of a container in a user namespace, which has no rights on its network namespace.

    The first two are what its root would have by its rights; the rest it could not set itself.
    """
    if record.ids is None:
        return {}
    first, last = record.ids.first, record.ids.first + record.ids.count - 1
    return {
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net.ipv4.ping_group_range": f"{first} {last}",
        **net_sysctls(record),
    }


def net_sysctls(record: ContainerRecord) -> dict[str, str]:
    """Those asked for that are of its network, with dots."""
    asked = ((name.replace("/", "."), value) for name, value in record.request.sysctls.items())
    return {name: value for name, value in asked if name.startswith("net.")}


def has_sandbox(record: ContainerRecord) -> bool:
    """Whether the container has a network namespace of its own."""
    return record.network_mode != "host" and not record.network_mode.startswith("container:")


def ports_text(ports: Sequence[PortBinding]) -> list[str]:
    """``127.0.0.1:8080->80/tcp``; neighbours that go on in step are one: ``…:80-82->80-82/tcp``."""
    runs: list[tuple[PortBinding, int]] = []
    for port in sorted(ports, key=lambda each: (each.host_ip, each.protocol, each.host_port)):
        if runs and _goes_on(*runs[-1], port):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((port, 1))
    return [_run_text(*run) for run in runs]


def _goes_on(first: PortBinding, count: int, port: PortBinding) -> bool:
    steps = port.host_port - first.host_port, port.container_port - first.container_port
    same = (port.host_ip, port.protocol) == (first.host_ip, first.protocol)
    return same and steps == (count, count)


def _run_text(first: PortBinding, count: int) -> str:
    host = f"[{first.host_ip}]" if ":" in first.host_ip else first.host_ip
    outer, inner = (
        f"{port}-{port + count - 1}" if count > 1 else str(port)
        for port in (first.host_port, first.container_port)
    )
    return f"{host}:{outer}->{inner}/{first.protocol}"

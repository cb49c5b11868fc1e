"""From records to what the kernel should hold. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_interface, ip_network

from netdrivers.contract import (
    Desired,
    EndpointSpec,
    IPAddress,
    NetworkSpec,
    PublishedPort,
    SandboxSpec,
    SubnetSpec,
)
from nodeagent.model.container import ContainerRecord, EndpointRecord, PortBinding
from nodeagent.model.network import NetworkRecord

HOST = "host"  # the auxiliary address that the host itself has on a wire
PREDEFINED = "bridge"  # the default network: no names on it, as in Docker


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
    )


def endpoints_in_order(
    record: ContainerRecord, networks: Mapping[str, NetworkRecord]
) -> list[EndpointRecord]:
    """Endpoints in interface order, those on internal networks last: the first has the route.

    If ports are published, a network that publishes comes before a wire: answers to those who come
    by a port leave by the route.
    """

    def place(each: EndpointRecord) -> tuple[bool, bool, int]:
        network = networks[each.network_id]
        return network.internal, network.on_wire and bool(record.ports), _number(each.interface)

    return sorted(
        (each for each in record.endpoints.values() if each.network_id in networks), key=place
    )


def _number(interface: str) -> int:
    return int(interface.removeprefix("eth"))


def published(record: ContainerRecord, address: IPAddress) -> tuple[PublishedPort, ...]:
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


def endpoint_specs(
    record: ContainerRecord, networks: Mapping[str, NetworkRecord]
) -> list[EndpointSpec]:
    """The kernel's half of a container's endpoints."""
    specs = []
    for position, each in enumerate(endpoints_in_order(record, networks)):
        leads = position == 0 and not networks[each.network_id].internal
        addresses = tuple(ip_interface(text) for text in each.addresses)
        serves = leads and not networks[each.network_id].on_wire
        ports = [port for a in addresses for port in published(record, a.ip)] if serves else []
        specs.append(
            EndpointSpec(
                id=each.id,
                network_id=each.network_id,
                sandbox_id=record.id,
                interface=each.interface,
                mac=each.mac,
                addresses=addresses,
                default_gateway=tuple(ip_address(a) for a in each.gateways) if leads else (),
                ports=tuple(ports),
            )
        )
    return specs


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
            record.id: SandboxSpec(id=record.id, dns_port=record.dns_port) for record in live
        },
        endpoints={spec.id: spec for record in live for spec in endpoint_specs(record, networks)},
    )


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

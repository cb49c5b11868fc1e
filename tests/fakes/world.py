"""What is desired of networks, in short words."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from netdrivers.contract.specs import (
    Desired,
    EndpointSpec,
    NetworkSpec,
    PublishedPort,
    SandboxSpec,
    Scope,
    SubnetSpec,
)


class World:
    """What is desired, in short words."""

    def __init__(self) -> None:
        self.networks: dict[str, NetworkSpec] = {}
        self.sandboxes: dict[str, SandboxSpec] = {}
        self.endpoints: dict[str, EndpointSpec] = {}

    def network(self, letter: str, *subnets: str, driver="bridge", **fields) -> NetworkSpec:
        specs = [ip_network(text) for text in subnets]
        net = NetworkSpec(
            id=letter * 64,
            name=letter,
            driver=driver,
            subnets=tuple(SubnetSpec(subnet=each, gateway=each[1]) for each in specs),
            **fields,
        )
        self.networks[net.id] = net
        return net

    def macvlan(self, letter: str, *subnets: str, host: int = 0, **options: str) -> NetworkSpec:
        """A macvlan network on up0; ``host``: the number of the host's own address."""
        options = {"parent": "up0", **options}
        net = self.network(letter, *subnets, driver="macvlan", options=options)
        if host:
            subnets = tuple(replace(each, host=each.subnet[host]) for each in net.subnets)
            net = replace(net, subnets=subnets, options=options | {"host_access": "true"})
        self.networks[net.id] = net
        return net

    def container(self, name: str, net: NetworkSpec, number: int, *ports: str, **fields) -> str:
        """A sandbox with one endpoint; ports as ``tcp:host_ip:host_port:port``."""
        self.sandboxes[name] = SandboxSpec(id=name, **fields)
        return self.join(name, net, number, *ports)

    def join(self, name: str, net: NetworkSpec, number: int, *ports: str, default=True) -> str:
        mine = [ep for ep in self.endpoints.values() if ep.sandbox_id == name]
        routed = {gateway.version for each in mine for gateway in each.default_gateway}
        pick = {each.subnet.version: each.subnet[number] for each in net.subnets}
        published = tuple(parse_port(text, pick) for text in ports)
        ep = EndpointSpec(
            id=f"{number:02x}{net.id[0]}".rjust(8, "0") + name.encode().hex().ljust(56, "0")[:56],
            network_id=net.id,
            sandbox_id=name,
            interface=f"eth{len(mine)}",
            mac=f"02:42:00:00:{ord(net.id[0]):02x}:{number:02x}",
            addresses=tuple(
                ip_interface(f"{each.subnet[number]}/{each.subnet.prefixlen}")
                for each in net.subnets
            ),
            default_gateway=tuple(
                each.gateway
                for each in net.subnets
                if default and not net.internal and each.subnet.version not in routed
            ),
            ports=published,
            served=tuple({p.container_ip: 0 for p in published if p.container_ip != p.host_ip}),
        )
        self.endpoints[ep.id] = ep
        return ep.id

    def remove(self, name: str) -> None:
        del self.sandboxes[name]
        self.endpoints = {k: ep for k, ep in self.endpoints.items() if ep.sandbox_id != name}

    @property
    def desired(self) -> Desired:
        return Desired(
            networks=dict(self.networks),
            sandboxes=dict(self.sandboxes),
            endpoints=dict(self.endpoints),
        )


def parse_port(text: str, pick) -> PublishedPort:
    protocol, rest = text.split(":", 1)
    host_ip, host_port, port = rest.rsplit(":", 2)
    ip = ip_address(host_ip)
    return PublishedPort(
        protocol=protocol,
        host_ip=ip,
        host_port=int(host_port),
        container_ip=pick[ip.version],
        container_port=int(port),
    )


def scope(*sandboxes: str, networks: tuple[NetworkSpec, ...] = ()) -> Scope:
    return Scope(sandboxes=frozenset(sandboxes), networks=frozenset(net.id for net in networks))

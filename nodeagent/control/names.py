"""From records to what the name server should know. Pure.

A name is answered with the endpoints that bear it and are ready; ``all.NAME`` with every one that
runs. The names of those that do not run are known too, so that no stranger is asked about them.
``_port._proto.NAME`` (SRV) finds a port that the container exposes or publishes: by its number,
by the name that a label ``nodeagent.port.NAME=80/tcp`` gives it, or, of those exposed, by the name
everybody knows it by. That last list is short and ours: /etc/services differs from host to host,
and an answer must not.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from typing import Final

from netdrivers.contract.names import DnsHost, DnsView, DnsZone
from netdrivers.contract.specs import IPAddress
from nodeagent.control.desired import endpoints_in_order
from nodeagent.model.cluster import HOST_NAME
from nodeagent.model.container import ContainerRecord, EndpointRecord
from nodeagent.model.network import NetworkRecord, RemoteEndpoint

PORT_LABEL: Final = "nodeagent.port."
WELL_KNOWN: Final = {
    "21/tcp": "ftp", "22/tcp": "ssh", "25/tcp": "smtp", "53/tcp": "domain", "53/udp": "domain",
    "80/tcp": "http", "110/tcp": "pop3", "123/udp": "ntp", "143/tcp": "imap", "389/tcp": "ldap",
    "443/tcp": "https", "443/udp": "https", "465/tcp": "submissions", "514/udp": "syslog",
    "587/tcp": "submission", "636/tcp": "ldaps", "873/tcp": "rsync", "993/tcp": "imaps",
    "995/tcp": "pop3s", "1883/tcp": "mqtt", "2049/tcp": "nfs", "3306/tcp": "mysql",
    "5060/tcp": "sip", "5060/udp": "sip", "5432/tcp": "postgresql", "5672/tcp": "amqp",
    "6379/tcp": "redis", "8080/tcp": "http-alt", "9090/tcp": "prometheus",
    "11211/tcp": "memcached", "27017/tcp": "mongodb",
}  # fmt: skip
_NO_V6: Final = ("net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.{}.disable_ipv6")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A container with names: whether it runs, and whether it is ready to be used."""

    record: ContainerRecord
    is_up: bool = True
    is_ready: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRow:
    """What one name says of one endpoint."""

    name: str
    addresses: tuple[str, ...]
    is_ready: bool


def endpoint_names(record: ContainerRecord, endpoint: EndpointRecord) -> list[str]:
    """Names the endpoint answers to; the first is the canonical one."""
    names = [record.name, *endpoint.aliases, record.id[:12]]
    if record.request.hostname and record.request.uts_mode != "host":
        names.append(record.request.hostname)
    return list(dict.fromkeys(names))


def build_services(record: ContainerRecord) -> dict[str, int]:
    """Ports by what SRV asks for: ``_80._tcp``, ``_http._tcp`` and names given by labels."""
    asked = [f"{port.container_port}/{port.protocol}" for port in record.request.ports]
    ports = {text: WELL_KNOWN.get(text, "") for text in (*record.expose, *asked)}
    services: dict[str, int] = {}
    for text, known in ports.items():
        number, _, protocol = text.partition("/")
        for name in (number, known):
            if name:
                services[f"_{name}._{protocol}"] = int(number)
    return services | _labelled(record.labels)


def _labelled(labels: Mapping[str, str]) -> dict[str, int]:
    """Ports named by labels; what does not read as PORT/PROTOCOL names none."""
    found: dict[str, int] = {}
    for key, text in labels.items():
        name = key.removeprefix(PORT_LABEL).lower()
        number, _, protocol = text.partition("/")
        if key.startswith(PORT_LABEL) and name and _is_port(number, protocol):
            found[f"_{name}._{protocol or 'tcp'}"] = int(number)
    return found


def _is_port(number: str, protocol: str) -> bool:
    is_number = number.isascii() and number.isdecimal() and len(number) <= 5
    return is_number and 0 < int(number) < 65536 and protocol in {"", "tcp", "udp", "sctp"}


def host_name(record: ContainerRecord) -> str:
    """What answers call the container: its name, if that can be one of DNS."""
    return record.name if re.fullmatch(HOST_NAME, record.name) else record.id[:12]


def build_host(member: Member, endpoint: EndpointRecord) -> DnsHost:
    """One endpoint as names know it."""
    record = member.record
    return DnsHost(
        name=host_name(record),
        addresses=_addresses(record, endpoint) if member.is_up else (),
        is_up=member.is_up,
        is_ready=member.is_ready,
        services=build_services(record),
    )


def _addresses(record: ContainerRecord, endpoint: EndpointRecord) -> tuple[IPAddress, ...]:
    """Addresses of the endpoint, without those of a family that the container has off."""
    off = [key.format(endpoint.interface) for key in _NO_V6]
    has_v6 = all(record.request.sysctls.get(key, "0") == "0" for key in off)
    found = (ip_interface(text).ip for text in endpoint.addresses)
    return tuple(each for each in found if each.version == 4 or has_v6)


def build_zone(network: NetworkRecord, members: Iterable[Member]) -> DnsZone:
    """Names of one network; nothing on the predefined one."""
    names: dict[str, tuple[DnsHost, ...]] = {}
    reverse: dict[IPAddress, str] = {}
    for member in members:
        endpoint = member.record.endpoints.get(network.id)
        if endpoint is None or network.predefined:
            continue
        host = build_host(member, endpoint)
        for name in {each.lower() for each in endpoint_names(member.record, endpoint)}:
            names[name] = (*names.get(name, ()), host)
        reverse |= dict.fromkeys(host.addresses, host.name)
    for remote in network.reach.remotes if network.reach else ():
        host = _remote_host(remote)
        for name in {each.lower() for each in remote.names}:
            names[name] = (*names.get(name, ()), host)
        reverse |= dict.fromkeys(host.addresses, host.name)
    return DnsZone(name=network.name, names=names, reverse=reverse)


def _remote_host(remote: RemoteEndpoint) -> DnsHost:
    """An endpoint of another host, as that one has published it."""
    return DnsHost(
        name=remote.container,
        addresses=tuple(ip_address(text) for text in remote.addresses),
        is_up=True,
        is_ready=remote.ready,
        services=remote.services,
    )


def build_view(
    record: ContainerRecord, networks: Mapping[str, NetworkRecord], host_upstreams: tuple[str, ...]
) -> DnsView:
    """What one container may ask; nothing is asked on the host's behalf without a way out.

    Servers of its own (``--dns``) are asked from inside its sandbox, so they get no further than
    the container itself does.
    """
    ordered = endpoints_in_order(record, networks)
    has_way_out = any(not networks[each.network_id].internal for each in ordered)
    own = tuple(record.request.dns)
    return DnsView(
        zones=tuple(each.network_id for each in ordered),
        upstreams=own or (host_upstreams if has_way_out else ()),
        upstreams_in_sandbox=bool(own),
    )


def name_rows(zone: DnsZone) -> list[NameRow]:
    """All that a network's names say, in order of names."""
    return [
        NameRow(
            name=name, addresses=tuple(str(each) for each in host.addresses), is_ready=host.is_ready
        )
        for name, hosts in sorted(zone.names.items())
        for host in sorted(hosts, key=lambda each: each.name)
        if host.is_up
    ]

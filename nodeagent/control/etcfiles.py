"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container. Pure; etcdir.py writes them."""

from collections.abc import Sequence
from ipaddress import ip_interface

from nodeagent.control.desired import has_sandbox
from nodeagent.control.names import endpoint_names
from nodeagent.model.container import ContainerRecord

DNS_ADDRESS = "127.0.0.11"
V6_LINES = (
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
)


def build_hosts(record: ContainerRecord, host_gateways: Sequence[str]) -> str:
    """Loopback names, the container's own addresses, and ``--add-host`` entries."""
    has_v6 = any(
        ip_interface(text).version == 6
        for endpoint in record.endpoints.values()
        for text in endpoint.addresses
    )
    lines = ["127.0.0.1\tlocalhost", *(V6_LINES if has_v6 else ())]
    for entry in record.request.extra_hosts:
        name, _, address = entry.partition(":")
        addresses = host_gateways if address == "host-gateway" else [address]
        lines += [f"{each}\t{name}" for each in addresses]
    for endpoint in record.endpoints.values():
        own = build_hostname(record)
        domain = record.request.domainname
        full = [f"{own}.{domain}"] if domain else []
        names = " ".join(dict.fromkeys([*full, own, *endpoint_names(record, endpoint)[-1:]]))
        lines += [f"{ip_interface(text).ip}\t{names}" for text in endpoint.addresses]
    return "\n".join(lines) + "\n"


def merge_hosts(text: str, before: str, after: str) -> str:
    """The file as it is now, with our lines as of ``after``; the container's own lines stay."""
    ours = set(before.splitlines()) | set(after.splitlines())
    own = [line for line in text.splitlines() if line not in ours]
    return "\n".join([*after.splitlines(), *own]) + "\n"


def build_hostname(record: ContainerRecord) -> str:
    """The host name: as asked for, else the short id."""
    return record.request.hostname or record.id[:12]


def build_resolv_conf(record: ContainerRecord, host: str) -> str:
    """Our name server with the host's search list; or the host's own file."""
    if not has_sandbox(record) or not record.endpoints:
        return host
    search = record.request.dns_search or _words(host, "search")
    options = record.request.dns_options or _words(host, "options")
    if not any(option.startswith("ndots:") for option in options):
        options = [*options, "ndots:0"]
    lines = [f"nameserver {DNS_ADDRESS}"]
    lines += [f"search {' '.join(search)}"] if search and search != ["."] else []
    return "\n".join([*lines, f"options {' '.join(options)}"]) + "\n"


def _words(text: str, keyword: str) -> list[str]:
    rows = [line.split() for line in text.splitlines()]
    return next((row[1:] for row in reversed(rows) if row and row[0] == keyword), [])


def parse_nameservers(text: str) -> tuple[str, ...]:
    """Addresses of the ``nameserver`` lines of a resolv.conf, our own left out."""
    rows = [line.split() for line in text.splitlines()]
    found = [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]
    return tuple(dict.fromkeys(each for each in found if each != DNS_ADDRESS))

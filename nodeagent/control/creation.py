"""From a create request and an image to what will run: Docker's rules. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address, ip_network

from netdrivers import ipam
from netdrivers.contract.specs import IPAddress
from nodeagent.control.limitrules import check_limits
from nodeagent.control.signals import parse_signal
from nodeagent.errors import Invalid
from nodeagent.model.container import MountRecord
from nodeagent.model.containerrequest import ContainerCreate, EndpointRequest, MountRequest
from nodeagent.model.network import NetworkRecord
from runtime.imageconfig import ImageConfig

LOOPBACK6 = ip_address("::1")
BROADCAST = ip_address("255.255.255.255")
LABEL_MAX = 63  # characters between two dots of a DNS name (RFC 1035)
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?")  # the kernel takes 64
MODES = frozenset({"host", "null"})  # drivers whose network is a container's mode, not a place
EXPOSE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LEFT = ("bold", "calm", "clear", "deft", "eager", "fair", "fleet", "kind", "lucid", "quiet")
RIGHT = (
    "anchor",
    "badger",
    "cedar",
    "comet",
    "delta",
    "ember",
    "falcon",
    "harbor",
    "lagoon",
    "otter",
)


def check_name(name: str, *, field: str = "name") -> None:
    """Refuse a name Docker would refuse (Invalid)."""
    if not NAME.fullmatch(name) or len(name) > 255:
        raise Invalid(
            "invalid name: letters, digits, '_', '.', '-' only, first a letter or digit",
            field=field,
            value=name,
        )


def check_publish_address(ip: IPAddress, *, field: str) -> None:
    """Refuse an address at which no port of this host can be (Invalid)."""
    mapped = ip.ipv4_mapped if ip.version == 6 else None
    if ip == LOOPBACK6:
        why = (
            "nothing can answer: the kernel keeps packets of ::1 off every other link; "
            "publish on 127.0.0.1 or on another address of this host"
        )
    elif mapped:
        why = f"an IPv4 address written as IPv6: publish on {mapped}"
    elif ip.is_multicast or ip == BROADCAST:
        kind = "multicast" if ip.is_multicast else "broadcast"
        why = f"a {kind} address is no host's own: publish on an address of this host"
    else:
        return
    raise Invalid(why, field=field, value=str(ip))


def generate_name(id_: str, is_taken: Callable[[str], bool]) -> str:
    """A readable name made of the id; with more of the id where that is taken."""
    pair = f"{LEFT[int(id_[0:8], 16) % len(LEFT)]}_{RIGHT[int(id_[8:16], 16) % len(RIGHT)]}"
    return pair if not is_taken(pair) else f"{pair}_{id_[16:24]}"


def resolve_args(request: ContainerCreate, image: ImageConfig) -> list[str]:
    """Entrypoint and command: an entrypoint that is given drops the image's command.

    Raises:
        Invalid: nothing to run.
    """
    if request.entrypoint is not None:
        entrypoint = [word for word in request.entrypoint if word]
        args = [*entrypoint, *request.cmd]
    else:
        args = [*image.entrypoint, *(request.cmd or image.cmd)]
    if not args:
        raise Invalid("no command: the image has none, so one must be given", field="cmd")
    return args


def resolve_env(request: ContainerCreate, image: ImageConfig, hostname: str) -> list[str]:
    """Defaults, then the image's, then the request's; ``K`` alone removes K."""
    merged: dict[str, str] = {}
    basis = [DEFAULT_PATH, f"HOSTNAME={hostname}", *(["TERM=xterm"] if request.tty else [])]
    for entry in [*basis, *image.env, *request.env]:
        key, has_value, value = entry.partition("=")
        if not key or "\0" in entry:
            raise Invalid("an environment entry is KEY=VALUE", field="env", value=entry)
        if has_value:
            merged[key] = value
        else:
            merged.pop(key, None)
    return [f"{key}={value}" for key, value in merged.items()]


def resolve_expose(request: ContainerCreate, image: ImageConfig) -> list[str]:
    """Exposed ports as sorted ``80/tcp``, published ones included (Invalid names the entry)."""
    found = {f"{port.container_port}/{port.protocol}" for port in request.ports}
    for entry in [*image.exposed_ports, *request.expose]:
        match = EXPOSE.fullmatch(entry)
        low, high, protocol = match.groups() if match else ("0", None, None)
        ports = range(int(low), int(high or low) + 1)
        if not ports or ports[0] < 1 or ports[-1] > 65535:
            raise Invalid("not a port: give 80, 80/udp or 80-90", field="expose", value=entry)
        found |= {f"{port}/{protocol or 'tcp'}" for port in ports}
    return sorted(found, key=lambda each: (int(each.partition("/")[0]), each))


def resolve_mounts(
    request: ContainerCreate, image: ImageConfig, new_name: Callable[[], str]
) -> list[MountRecord]:
    """Requested mounts, then anonymous volumes for the image's VOLUMEs that nothing covers.

    Raises:
        Invalid: a relative or doubled target, a bind without source.
    """
    records = [
        _mount_record(f"mounts[{n}]", each, new_name) for n, each in enumerate(request.mounts)
    ]
    targets = [record.target for record in records]
    for n, target in enumerate(targets):
        if target in targets[:n]:
            raise Invalid("two mounts on one target", field=f"mounts[{n}].target", value=target)
    implied = [
        _mount_record("volumes", MountRequest(type="volume", target=target), new_name)
        for target in image.volumes
        if _clean(target) not in targets
    ]
    # a mount below another one must come after it
    return sorted([*records, *implied], key=lambda each: each.target.count("/"))


def _clean(path: str) -> str:
    return "/" + "/".join(part for part in path.split("/") if part not in {"", "."})


def _mount_record(field: str, asked: MountRequest, new_name: Callable[[], str]) -> MountRecord:
    target = _clean(asked.target)
    if not asked.target.startswith("/") or ".." in target.split("/") or target == "/":
        raise Invalid(
            "a mount target is an absolute path below /, without ..",
            field=f"{field}.target",
            value=asked.target,
        )
    if "\0" in asked.source + asked.target:
        raise Invalid("a path holds no NUL byte", field=field)
    if asked.type == "bind" and not asked.source.startswith("/"):
        raise Invalid(
            "a bind source is an absolute path", field=f"{field}.source", value=asked.source
        )
    if asked.type == "tmpfs" and asked.source:
        raise Invalid("a tmpfs has no source", field=f"{field}.source", value=asked.source)
    if asked.type == "volume" and asked.source:
        check_name(asked.source, field=f"{field}.source")
    if asked.volume_subpath:
        _check_subpath(field, asked)
    return MountRecord(
        type=asked.type,
        source=asked.source if asked.type == "bind" else "",
        target=target,
        name=(asked.source or new_name()) if asked.type == "volume" else "",
        driver=asked.volume_driver if asked.type == "volume" else "",
        read_only=asked.read_only,
        no_copy=asked.no_copy,
        subpath=asked.volume_subpath,
        propagation=asked.propagation,
        options=_tmpfs_options(asked) if asked.type == "tmpfs" else [],
        anonymous=asked.type == "volume" and not asked.source,
    )


def _check_subpath(field: str, asked: MountRequest) -> None:
    path = asked.volume_subpath
    if asked.type != "volume" or not asked.source:
        raise Invalid("only a volume with a name has a subpath", field=f"{field}.volume_subpath")
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise Invalid(
            "a subpath is relative to the volume, without ..",
            field=f"{field}.volume_subpath",
            value=path,
        )


def _tmpfs_options(asked: MountRequest) -> list[str]:
    size = [f"size={asked.tmpfs_size_bytes}"] if asked.tmpfs_size_bytes else []
    return [*size, f"mode={asked.tmpfs_mode:o}"]


def check_request(request: ContainerCreate) -> None:
    """Refuse what can be seen to be wrong without looking at the host (Invalid names the field)."""
    if request.name:
        check_name(request.name)
    if request.hostname and not HOSTNAME.fullmatch(request.hostname):
        raise Invalid("not a host name", field="hostname", value=request.hostname)
    if request.stop_signal:
        parse_signal(request.stop_signal, field="stop_signal")
    check_limits(request)
    if request.memory_bytes and request.memory_bytes < 6 << 20:
        raise Invalid("the least memory limit is 6 MiB", field="memory_bytes")
    if request.working_dir and not request.working_dir.startswith("/"):
        raise Invalid("an absolute path is needed", field="working_dir", value=request.working_dir)
    if request.auto_remove and request.restart_policy.name != "no":
        raise Invalid("a container removed at its end cannot restart", field="restart_policy")
    for n, server in enumerate(request.dns):
        ipam.parse_address(server, field=f"dns[{n}]")
    for n, entry in enumerate(request.extra_hosts):
        if not all(entry.partition(":")[::2]):
            raise Invalid("an extra host is NAME:ADDRESS", field=f"extra_hosts[{n}]", value=entry)


def check_endpoint(network: NetworkRecord, asked: EndpointRequest) -> None:
    """Refuse what the network cannot give (Invalid names the field)."""
    if network.driver in MODES:
        raise Invalid(
            "a container has the host's network, or none, from its creation on and no other "
            f"beside it: --network {network.name}",
            field="network",
            network=network.name,
        )
    for field, value in (("aliases", asked.aliases), ("ip", asked.ip), ("ip6", asked.ip6)):
        if value and network.predefined:
            raise Invalid(
                "aliases and addresses of one's choice are for user-defined networks only",
                field=field,
                network=network.name,
            )
    versions = {ip_network(subnet.subnet).version for subnet in network.subnets}
    for field, value, version in (("ip", asked.ip, 4), ("ip6", asked.ip6, 6)):
        if value and version not in versions:
            raise Invalid("the network has no subnet of this family", field=field, value=value)
    for n, alias in enumerate(asked.aliases):
        check_name(alias, field=f"aliases[{n}]")
        if any(len(label) > LABEL_MAX for label in alias.split(".")):
            raise Invalid(
                f"no name of DNS: {LABEL_MAX} characters at most, or between two dots",
                field=f"aliases[{n}]",
                value=alias,
            )


def merge_labels(image: Mapping[str, str], request: Mapping[str, str]) -> dict[str, str]:
    """The image's labels, overridden by the request's."""
    return {**image, **request}


def split_mode(mode: str) -> tuple[str, str]:
    """("container", "web") of "container:web"; (mode, "") else."""
    head, _, tail = mode.partition(":")
    return (head, tail) if head == "container" else (mode, "")


def matches_labels(labels: Mapping[str, str], wanted: Sequence[str]) -> bool:
    """Whether all of ``key`` or ``key=value`` hold."""
    return all(
        key in labels and (not has_value or labels[key] == value)
        for key, has_value, value in (each.partition("=") for each in wanted)
    )

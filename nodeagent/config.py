"""The configuration file: TOML into typed settings; every mistake names its line.

All settings with their defaults and units are documented in ``packaging/nodeagent.toml``.
"""

import hashlib
import re
import tomllib
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import (
    Annotated,
    ClassVar,
    Final,
    Literal,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec import Meta, Struct

from nodeagent.configlines import find_line
from nodeagent.errors import AgentError
from nodeagent.model.logs import LogDriver

T = TypeVar("T")

PRIVATE: Final = "private"
# Docker's, so that its plugins are found where they are
PLUGIN_FOLDERS: Final = (
    "/run/docker/plugins",
    "/etc/docker/plugins",
    "/usr/lib/docker/plugins",
)
CERTIFICATE_FOLDERS: Final = ("/etc/nodeagent/certs.d", "/etc/docker/certs.d")
_MIRROR: Final = re.compile(
    r"(https://(?!\.)[\w.-]+|https://\[[0-9a-f:]+\]|http://(localhost|127\.0\.0\.1|\[::1\]))"
    r"(:(?P<port>\d{1,5}))?/?",
    re.ASCII | re.IGNORECASE,
)
_Count = Annotated[int, Meta(ge=1)]
_Bytes = Annotated[int, Meta(ge=0)]
_AGENT_ID = Annotated[str, Meta(pattern="^[a-z0-9]{0,12}$")]


class ConfigWrong(AgentError):
    """The file or a flag cannot be used; says file, line, key and what is expected."""

    kind: ClassVar[str] = "invalid"

    def __str__(self) -> str:
        return self.doing  # the fields are in it


class _Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Typed settings; an unknown key is an error."""


class Agent(_Section, frozen=True):
    """``[agent]``."""

    id: _AGENT_ID = ""


class Log(_Section, frozen=True):
    """``[log]``."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    audit_max_bytes: Annotated[int, Meta(ge=1 << 16, le=1 << 30)] = 8 << 20
    audit_max_files: Annotated[int, Meta(ge=1, le=100)] = 5


class Metrics(_Section, frozen=True):
    """``[metrics]``."""

    listen: str = "127.0.0.1:9323"


class Rpc(_Section, frozen=True):
    """``[rpc]``."""

    group: str = "nodeagent"
    max_frame_bytes: Annotated[int, Meta(ge=4096, le=1 << 30)] = 16 << 20
    max_connections: _Count = 256


class Pool(_Section, frozen=True):
    """A range that networks without a subnet of their own are cut from."""

    base: str
    size: Annotated[int, Meta(ge=1, le=126)]  # prefix length of one network, bits


_POOLS: Final = (  # Docker's bases, cut small: some four thousand networks instead of 31
    Pool(base="172.17.0.0/16", size=24),
    Pool(base="172.18.0.0/15", size=24),
    Pool(base="172.20.0.0/14", size=24),
    Pool(base="172.24.0.0/13", size=24),
    Pool(base="192.168.0.0/16", size=24),
)


class Network(_Section, frozen=True):
    """``[network]``."""

    pools: Annotated[tuple[Pool, ...], Meta(min_length=1, max_length=256)] = _POOLS
    default_publish_address: tuple[str, ...] = (PRIVATE,)
    dns_upstreams: tuple[str, ...] = ()
    mtu_bytes: Annotated[int, Meta(ge=0, le=65535)] = 0


class Container(_Section, frozen=True):
    """``[container]``."""

    runtime: Literal["auto", "crun", "runc"] = "auto"
    cgroup_parent: str = ""  # load_config fills it in
    log_max_bytes: _Bytes = 20 << 20
    log_max_files: Annotated[int, Meta(ge=1, le=1000)] = 5
    log_compress: bool = True
    log_budget_bytes: _Bytes = 10 << 30
    log_driver: LogDriver = "local"
    log_options: dict[str, str] = {}


class Image(_Section, frozen=True):
    """``[image]``."""

    max_unpacked_bytes: _Count = 256 << 30
    ca_file: str = ""
    certificate_folders: tuple[str, ...] = CERTIFICATE_FOLDERS
    mirrors: Annotated[tuple[str, ...], Meta(max_length=16)] = ()


class Volume(_Section, frozen=True):
    """``[volume]``."""

    plugin_folders: tuple[str, ...] = PLUGIN_FOLDERS
    retention_s: Annotated[float, Meta(ge=0, le=10 * 365 * 86400)] = 86400.0


_Port = Annotated[int, Meta(ge=1, le=65535)]


class Cluster(_Section, frozen=True):
    """``[cluster]``: where a node serves the others; the same on all of them is simplest."""

    rpc_port: _Port = 2377
    store_port: _Port = 2379
    store_peer_port: _Port = 2380
    wireguard_port: _Port = 51820
    vxlan_port: _Port = 4789
    kernel_wireguard: bool = True
    volume_lease_s: Annotated[float, Meta(ge=8, le=3600)] = 30.0


class State(_Section, frozen=True):
    """``[state]``."""

    synchronous: Literal["FULL", "NORMAL"] = "FULL"


class Config(_Section, frozen=True):
    """All settings."""

    root: Path = Path("/var/lib/nodeagent")
    run: Path = Path("/run/nodeagent")
    agent: Agent = Agent()
    log: Log = Log()
    metrics: Metrics = Metrics()
    rpc: Rpc = Rpc()
    network: Network = Network()
    container: Container = Container()
    image: Image = Image()
    volume: Volume = Volume()
    cluster: Cluster = Cluster()
    state: State = State()

    @property
    def agent_id(self) -> str:
        """What marks this agent's kernel objects; other agents on this kernel have another."""
        return self.agent.id or hashlib.sha256(bytes(self.root)).hexdigest()[:8]


def load_config(
    path: Path | None,
    *,
    root: Path | None = None,
    run: Path | None = None,
    metrics_listen: str | None = None,
    log_level: str | None = None,
) -> Config:
    """Read the file, if there is one, and let the flags override it.

    Raises:
        ConfigWrong: a file that cannot be read, a wrong key, type or value.
    """
    text = _read_text(path) if path else ""
    config = parse_config(text, name=str(path or ""))
    config = _override(
        config,
        {
            "root": root.absolute() if root else None,
            "run": run.absolute() if run else None,
            "metrics.listen": metrics_listen,
            "log.level": log_level.lower() if log_level else None,
        },
    )
    return _fill_in(config)


def parse_config(text: str, *, name: str) -> Config:
    """Decode and check the text of a configuration file.

    Args:
        name: of the file, for messages.

    Raises:
        ConfigWrong: see ``load_config``.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        at = re.search(r"line (\d+)", str(exc))
        line = int(at[1]) if at else text.count("\n") + 1
        raise ConfigWrong(f"{name}:{line}: not TOML: {exc}", file=name, line=line) from exc
    try:
        config = msgspec.convert(table, type=Config, dec_hook=_read_path)
    except msgspec.ValidationError as exc:
        key, expected = _explain(str(exc))
        raise _wrong(name, text, key, expected) from exc
    for key, expected in _find_wrong(config):
        raise _wrong(name, text, key, expected)
    return config


def _fill_in(config: Config) -> Config:
    """Set what is derived from other settings: no two agents may share a cgroup."""
    parent = config.container.cgroup_parent or f"nodeagent-{config.agent_id}"
    container = msgspec.structs.replace(config.container, cgroup_parent=parent)
    return msgspec.structs.replace(config, container=container)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigWrong(f"cannot read the configuration: {exc}", file=str(path)) from exc


def _read_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError("Expected a path")


def _override(config: Config, flags: dict[str, object]) -> Config:
    """Set what a flag gives; flags pass the same checks as the file."""
    table: dict[str, object] = msgspec.to_builtins(config, enc_hook=str)
    for key, value in flags.items():
        if value is not None:
            _set(table, key, value if isinstance(value, str) else str(value))
    try:
        changed = msgspec.convert(table, type=Config, dec_hook=_read_path)
    except msgspec.ValidationError as exc:
        key, expected = _explain(str(exc))
        raise ConfigWrong(f"flag: {key}: {expected}", key=key) from exc
    for key, expected in _find_wrong(changed):
        raise ConfigWrong(f"flag: {key}: {expected}", key=key)
    return changed


def _set(table: dict[str, object], key: str, value: str) -> None:
    section, _, last = key.rpartition(".")
    inner = table[section] if section else table
    if isinstance(inner, dict):
        inner[last] = value


# --- checks that types do not make ------------------------------------------------------------


def _find_wrong(config: Config) -> Iterator[tuple[str, str]]:
    """Give key and expectation of each wrong value."""
    for key, path in (("root", config.root), ("run", config.run)):
        if not path.is_absolute():
            yield key, f"expected an absolute path, got {str(path)!r}"
    if not _is_listen(config.metrics.listen):
        yield "metrics.listen", f'expected "HOST:PORT" or "", got {config.metrics.listen!r}'
    if not re.fullmatch(
        r"(/?[\w-][\w.-]*(/[\w-][\w.-]*)*)?", config.container.cgroup_parent, re.ASCII
    ):
        yield "container.cgroup_parent", "expected names joined by /"
    yield from _find_wrong_image(config.image)
    yield from _find_wrong_network(config.network)


def _find_wrong_image(image: Image) -> Iterator[tuple[str, str]]:
    if image.ca_file and not _is_own_file(Path(image.ca_file)):
        yield "image.ca_file", f"expected the absolute path of a file, got {image.ca_file!r}"
    for index, folder in enumerate(image.certificate_folders):
        if not Path(folder).is_absolute():
            key = f"image.certificate_folders[{index}]"
            yield key, f"expected an absolute path, got {folder!r}"
    for index, mirror in enumerate(image.mirrors):
        match = _MIRROR.fullmatch(mirror)
        if match is None or int(match["port"] or 443) >= 1 << 16:
            expected = '"https://HOST[:PORT]", or http on loopback'
            yield f"image.mirrors[{index}]", f"expected {expected}, got {mirror!r}"


def _find_wrong_network(network: Network) -> Iterator[tuple[str, str]]:
    for index, pool in enumerate(network.pools):
        base = _try(ip_network, pool.base)
        if base is None:
            yield f"network.pools[{index}].base", f"expected a network, got {pool.base!r}"
        elif not base.prefixlen <= pool.size <= base.max_prefixlen - 2:
            yield f"network.pools[{index}].size", f"expected {base.prefixlen} or more bits"
    for index, address in enumerate(network.default_publish_address):
        if address != PRIVATE and _try(ip_address, address) is None:
            key = f"network.default_publish_address[{index}]"
            yield key, f'expected "{PRIVATE}" or an address, got {address!r}'
    for index, address in enumerate(network.dns_upstreams):
        if _try(ip_address, address) is None:
            yield f"network.dns_upstreams[{index}]", f"expected an address, got {address!r}"


def _is_own_file(path: Path) -> bool:
    """Whether it is a file, wherever the agent is started."""
    return path.is_absolute() and path.is_file()


def _is_listen(text: str) -> bool:
    host, _, port = text.rpartition(":")
    is_port = port.isascii() and port.isdigit() and int(port) < 1 << 16
    return not text or (bool(host) and is_port and _try(ip_address, host.strip("[]")) is not None)


def _try(parse: Callable[[str], T], text: str) -> T | None:
    try:
        return parse(text)
    except ValueError:
        return None


# --- where it stands --------------------------------------------------------------------------

_AT: Final = re.compile(r" - at `\$\.?([^`]*)`$")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `([^`]*)`")
_MISSING: Final = re.compile(r"Object missing required field `([^`]*)`")


def _wrong(name: str, text: str, key: str, expected: str) -> ConfigWrong:
    line = find_line(text, key)
    return ConfigWrong(f"{name}:{line}: {key}: {expected}", file=name, line=line, key=key)


def _explain(text: str) -> tuple[str, str]:
    """Take a validation error apart: dotted key, what is wrong."""
    at = _AT.search(text)
    parent = at[1] if at else ""
    reason = text[: at.start()] if at else text
    if unknown := _UNKNOWN.match(reason):
        return f"{parent}.{unknown[1]}".lstrip("."), "unknown key"
    if missing := _MISSING.match(reason):
        return f"{parent}.{missing[1]}".lstrip("."), "missing key"
    if choices := _choices(parent):
        reason += f", expected one of {', '.join(choices)}"
    return parent, reason.replace("`", "")


def _choices(key: str) -> tuple[str, ...]:
    """Return what a setting with a closed set of values may be."""
    section, _, name = key.rpartition(".")
    kind = get_type_hints(Config).get(section, Config)
    hint = get_type_hints(kind).get(name)
    return get_args(hint) if get_origin(hint) is Literal else ()

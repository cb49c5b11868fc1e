"""What the use cases work with: one object built by the daemon, handed to each of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from netdrivers.contract.engine import NetworkEngine
from netdrivers.contract.names import NameServer
from nodeagent.control.events import Events
from nodeagent.control.inventory import Inventory
from nodeagent.model.logs import LogSettings
from nodeagent.state.leases import Leases
from runtime.contract.container import Containers
from runtime.contract.image import Images
from runtime.contract.rootfs import MappedMounts, RootFilesystems, SharedMemory
from voldrivers.contract import Backups, CopyUp, Drivers, PartMounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The part of the configuration that the use cases read."""

    root: Path
    run: Path
    agent_id: str
    metrics_address: str
    pools: tuple[tuple[str, int], ...]  # (base network, prefix length of a slice)
    publish_addresses: tuple[str, ...]  # ("private",) or addresses
    dns_upstreams: tuple[str, ...]  # empty: the host's
    mtu_bytes: int  # 0: of the host's default route
    version: str = ""
    volume_retention_s: float = 0.0  # how long a removed volume is kept
    logs: LogSettings = field(default_factory=LogSettings)
    resolv_conf: Path = Path("/etc/resolv.conf")
    ulimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # soft, hard


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Every room a use case may enter, as contracts."""

    settings: Settings
    inventory: Inventory
    events: Events
    images: Images
    roots: RootFilesystems
    runtime: Containers
    engine: NetworkEngine
    names: NameServer
    volume_drivers: Drivers
    leases: Leases
    copy_up: CopyUp
    part_mounts: PartMounts
    shared_memory: SharedMemory
    mapped_mounts: MappedMounts
    backups: Backups
    now: Callable[[], float]  # seconds since the epoch
    new_id: Callable[[], str]  # 64 hex digits

"""What is stored of a container."""

from typing import Literal

from msgspec import Struct

from nodeagent.model.containerrequest import (
    ContainerCreate,
    EndpointRequest,
    PortBinding,
)
from nodeagent.model.health import HealthRecord
from nodeagent.model.logs import LogRecord

# After a kill "removing" is finished and "starting" is undone unless the program runs; the others
# are facts.
Phase = Literal["created", "starting", "running", "exited", "removing"]


class MountRecord(Struct, frozen=True, kw_only=True):
    """One mount as resolved at creation. ``name`` is the volume's, "" for bind and tmpfs."""

    type: Literal["bind", "volume", "tmpfs"]
    source: str
    target: str
    name: str = ""
    driver: str = ""
    read_only: bool = False
    no_copy: bool = False
    subpath: str = ""
    propagation: str = "rprivate"
    options: list[str] = []
    anonymous: bool = False


class BoundPort(PortBinding, frozen=True, kw_only=True):
    """A port as bound: host_ip and host_port filled in.

    ``by_default``: the address is of those that the configuration means, and comes and goes with
    them.
    """

    by_default: bool = False


class EndpointRecord(Struct, frozen=True, kw_only=True):
    """A container's place on one network; addresses are leased while the container exists."""

    id: str
    network_id: str
    interface: str
    mac: str
    addresses: list[str]  # "172.18.0.2/24"
    gateways: list[str]
    aliases: list[str]
    requested: EndpointRequest = EndpointRequest()


class IdRangeRecord(Struct, frozen=True, kw_only=True):
    """The ids of the host that a container's user namespace has as 0 and on."""

    first: int
    count: int


class ContainerRecord(Struct, frozen=True, kw_only=True):
    """All that is durable about one container."""

    id: str
    name: str
    created: str  # RFC 3339
    image_id: str
    image_name: str
    request: ContainerCreate
    args: list[str]  # entrypoint + cmd, resolved
    env: list[str]
    working_dir: str
    user: str
    stop_signal: str
    labels: dict[str, str]
    mounts: list[MountRecord]
    expose: list[str]
    phase: Phase
    network_mode: str  # "none", "host", "container:<id>", or the id of the first network
    pid_owner: str = ""  # id of the container whose processes this one sees
    ipc_owner: str = ""  # and whose IPC and /dev/shm it has
    ids: IdRangeRecord | None = None  # of a user namespace of its own
    endpoints: dict[str, EndpointRecord] = {}  # by network id
    ports: list[BoundPort] = []
    dns_port: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: str = ""
    finished_at: str = ""
    stopped_by_hand: bool = False
    ending: Literal["", "down", "up"] = ""  # where a stop or a restart that is under way leads
    restart_count: int = 0
    health: HealthRecord | None = None
    limits_told: bool = True  # False: an update may not have come to the kernel
    frozen_by_us: bool = False  # for a commit that is under way
    log: LogRecord = LogRecord()
    was_healthy: bool = False  # in this run, by its last probe

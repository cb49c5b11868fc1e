"""What running containers offers, as data and Protocols.

Callers see this, never a concrete class. Sizes are bytes; times are seconds unless named otherwise.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from runtime.contract.logs import Logbook
from runtime.contract.rootfs import IdRange


@dataclass(frozen=True, slots=True, kw_only=True)
class MountPoint:
    """One mount inside the container."""

    type: Literal["bind", "tmpfs"]
    source: str  # host path for bind, "" for tmpfs
    target: str  # absolute path inside
    read_only: bool = False
    propagation: str = "rprivate"
    options: tuple[str, ...] = ()  # tmpfs: "size=64m", "mode=1777"; bind: extra flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """cgroup limits; 0 or "" means none."""

    memory_bytes: int = 0
    memory_swap_bytes: int = 0  # memory + swap; -1 unlimited
    memory_reservation_bytes: int = 0
    nano_cpus: int = 0  # 1e9 = one core
    cpu_shares: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    cpu_period_us: int = 0
    cpu_quota_us: int = 0  # of a period; -1 unlimited
    memory_swappiness: int = -1  # 0 to 100; -1 the kernel's
    oom_kill_disable: bool = False
    blkio_weight: int = 0  # 10 to 1000
    pids: int = 0  # -1 unlimited
    oom_score_adj: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IoLimit:
    """What a container may do with one block device of the host."""

    kind: Literal["read_bps", "write_bps", "read_iops", "write_iops", "weight"]
    device: str  # "/dev/sda"
    value: int  # bytes or operations a second; a weight is 10 to 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """A process to run: the container's first, or an exec."""

    args: tuple[str, ...]
    env: tuple[str, ...] = ()  # "K=V"
    cwd: str = "/"
    user: str = ""  # "", uid, name, uid:gid, name:group: resolved inside the rootfs
    groups: tuple[str, ...] = ()
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = True  # stdin ends with the first client that leaves; False: it stays open
    rows: int = 0
    columns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """Everything the runtime needs to make one container. Paths are host paths."""

    id: str  # 64 hex
    name: str
    rootfs: Path
    process: ProcessSpec
    hostname: str
    netns: str  # path of a network namespace; "" = the host's
    domainname: str = ""
    pid_ns: str = ""  # "" one of its own, "host", or a path; so are the next ones
    ipc_ns: str = ""  # or "none": one of its own without /dev/shm
    uts_ns: str = ""
    cgroup_ns: str = ""  # "" as Docker's default; or "private"
    ids: IdRange | None = None  # a user namespace of its own; the root's and mounts' files are its
    mounts: tuple[MountPoint, ...] = ()  # in order; resolv.conf, hosts, hostname included
    limits: Limits = field(default_factory=Limits)
    io_limits: tuple[IoLimit, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    read_only: bool = False
    no_new_privileges: bool = False
    system_paths: bool = True  # mask and protect those of /proc and /sys that are the host's
    seccomp: str = "default"  # "default", "unconfined" or JSON text of a profile
    apparmor: str = ""  # a profile that is loaded, or "unconfined"
    init: bool = False
    shm_size_bytes: int = 64 << 20
    sysctls: Mapping[str, str] = field(default_factory=dict)
    device_rules: tuple[str, ...] = ()  # "c 1:3 rw"
    ulimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # name: soft, hard
    devices: tuple[str, ...] = ()  # "/dev/fuse" or "/dev/x:/dev/y:rwm"
    keeps_log: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A live container: its first process and the conmon that watches it."""

    pid: int
    conmon_pid: int
    started_ticks: int  # field 22 of /proc/PID/stat: tells a recycled pid from ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a container ended."""

    code: int  # 128+n for signal n, as a shell says it
    finished_at: float  # seconds since the epoch, from conmon's exit file
    oom_killed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the disk and the kernel say of one container after a restart of the agent."""

    id: str
    state: Literal["created", "running", "paused", "exited", "leftover"]
    process: Process | None = None
    exit: Exit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One reading of a container's cgroup; -1 = the kernel does not tell."""

    cpu_ns: int
    cpu_user_ns: int
    cpu_system_ns: int
    throttled_ns: int
    memory_bytes: int
    memory_cache_bytes: int
    memory_limit_bytes: int
    memory_max_bytes: int
    oom_events: int
    pids: int
    pids_limit: int
    blkio_read_bytes: int
    blkio_write_bytes: int


class Session(Protocol):
    """An attached terminal: bytes both ways. Closing it leaves the process running."""

    async def receive(self) -> tuple[Literal["stdout", "stderr"], bytes] | None:
        """The next piece of output, or None at the end."""
        ...

    async def send(self, data: bytes) -> None:
        """Write to stdin; blocks while the process does not read."""

    async def send_eof(self) -> None:
        """Close stdin for the process."""

    async def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size."""


class ExecSession(Session, Protocol):
    """An exec in progress."""

    @property
    def pid(self) -> int: ...

    async def wait(self) -> int:
        """Its exit code, once it ended."""
        ...


class Containers(Protocol):
    """Containers on this host: conmon + crun or runc. They outlive this object and its process."""

    @property
    def logbook(self) -> Logbook:
        """The containers' logs."""
        ...

    async def open(self) -> None:
        """Probe the runtimes and pick the first that can create a container here."""

    def runtime_name(self) -> str:
        """``crun 1.8.1``; Unavailable if none works, naming what was tried."""
        ...

    async def create(self, spec: ContainerSpec) -> Process:
        """Make the container: namespaces, cgroup, mounts; the program is not executed yet.

        Raises:
            Invalid: user, working directory or device cannot be. Unavailable: no runtime.
            Refused: the runtime said no (its words in the error).
        """
        ...

    async def start(self, container_id: str) -> None:
        """Execute the program. Missing with field ``exit_code`` 127/126 if it cannot be run."""

    async def kill(self, container_id: str, signal: int) -> None:
        """Send a signal to the first process; Missing if it has ended."""

    async def pause(self, container_id: str) -> None:
        """Freeze the container's cgroup."""

    async def unpause(self, container_id: str) -> None:
        """Thaw it."""

    async def update(self, container_id: str, limits: Limits) -> None:
        """Change those limits of a live container that are given (Conflict, Missing, Refused)."""

    async def wait_exit(self, container_id: str) -> Exit:
        """Return when it has ended and its exit is recorded. Any number of waiters."""
        ...

    async def delete(self, container_id: str) -> None:
        """Kill what is left, remove cgroup, bundle and runtime state; logs stay. Idempotent."""

    async def scan(self) -> list[Found]:
        """All containers under this root and run directory; starts watching the live ones."""
        ...

    def attach(self, container_id: str) -> AbstractAsyncContextManager[Session]:
        """Join the container's terminal or pipes."""
        ...

    def exec(
        self, container_id: str, process: ProcessSpec, *, privileged: bool
    ) -> AbstractAsyncContextManager[ExecSession]:
        """Run a further process in the container. Missing/Refused carry ``exit_code`` 127/126."""
        ...

    async def probe(
        self, container_id: str, process: ProcessSpec, sink: Callable[[bytes], None]
    ) -> int:
        """Run a short process to its end: its exit code. stdout and stderr go to ``sink``.

        It ends with the call: also ``scan`` after a killed agent ends what it began.

        Raises:
            Missing: the container has ended. Conflict: it is paused.
        Cancel: the process and all it began are killed.
        """
        ...

    async def top(self, container_id: str) -> list[int]:
        """Host pids of all processes in the container."""
        ...

    def usage(self, container_id: str) -> Usage:
        """Read the cgroup now (a few small files)."""
        ...

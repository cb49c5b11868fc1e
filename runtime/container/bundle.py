"""The files of one container: where they are, how they come and go."""

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from runtime import inroot
from runtime.container.cgroups import Cgroup
from runtime.container.iolimits import read_io_limits
from runtime.container.spec import Device, Host, Json, Parts, build_config
from runtime.container.users import Identity, resolve
from runtime.contract.container import ContainerSpec, ProcessSpec
from runtime.errors import Conflict, Invalid, Missing, Unavailable

CONFIG: Final = "config.json"
LOG: Final = "ctr.log"
ID_LENGTH: Final = 64
SHORT: Final = 12
INITS: Final = (
    "/usr/libexec/docker/docker-init",
    "/usr/bin/docker-init",
    "/usr/libexec/podman/catatonit",
    "/usr/bin/catatonit",
    "/usr/bin/tini-static",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Paths of everything one agent keeps for containers."""

    root: Path
    run: Path

    @property
    def state(self) -> Path:
        """The OCI runtime's own directory."""
        return self.run / "oci"

    @property
    def containers(self) -> Path:
        return self.root / "containers"

    @property
    def temporary(self) -> Path:
        return self.run / "tmp"

    def home(self, container_id: str) -> Path:
        return self.containers / container_id

    def bundle(self, container_id: str) -> Path:
        return self.home(container_id) / "bundle"

    def log(self, container_id: str) -> Path:
        return self.home(container_id) / "log" / LOG

    def live(self, container_id: str) -> Path:
        """Pid files, the record and the exit of this boot."""
        return self.run / "ctr" / container_id

    def execs(self, container_id: str) -> list[Path]:
        return list((self.run / "exec").glob(f"{container_id[:SHORT]}-*"))

    def probes(self, container_id: str) -> list[Path]:
        return list((self.run / "probe").glob(f"{container_id[:SHORT]}-*"))

    def make(self) -> None:
        """Create the directories all containers share."""
        for path in (
            self.containers,
            self.state,
            *(self.run / n for n in ("ctr", "exec", "probe", "shm")),
        ):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.temporary.mkdir(mode=0o700, exist_ok=True)
        (self.run / "userns").mkdir(mode=0o711, exist_ok=True)  # the way of ids that are not root's

    def ids(self) -> set[str]:
        """Containers that have a bundle, a live directory or runtime state, whole or not."""
        found = {entry.parent.name for entry in self.containers.glob("*/bundle")}
        for top in (self.run / "ctr", self.state):
            found |= {entry.name for entry in top.iterdir()} if top.is_dir() else set()
        return {name for name in found if is_id(name)}


def is_id(name: str) -> bool:
    """Whether a name has the form of a container id."""
    return len(name) == ID_LENGTH and not name.strip("0123456789abcdef")


def check_id(container_id: str) -> str:
    """Pass an id on; Invalid if it could be a path."""
    if not is_id(container_id):
        raise Invalid("read container id", id=container_id, expected="64 hex digits")
    return container_id


def remove_tree(path: Path) -> None:
    """Delete a directory tree if it is there."""
    shutil.rmtree(path, ignore_errors=True)


def find_init() -> str:
    """A static init on the host; Unavailable naming the package."""
    for path in INITS:
        if os.access(path, os.X_OK):
            return path
    raise Unavailable("find an init for the container", fix="apt install catatonit")


def read_device(text: str) -> Device:
    """``/dev/x[:/dev/y[:rwm]]`` and what the host says of it; Invalid if it is no device."""
    source, target, access = (*text.split(":"), "", "")[:3]
    if access.strip("rwm") or text.count(":") > 2 or not source.startswith("/"):
        raise Invalid("read device", device=text, expected="/dev/x[:/dev/y[:rwm]]")
    try:
        info = os.stat(source)  # noqa: PTH116  st_rdev is all we want
    except OSError as exc:
        raise Invalid("no such device on the host", device=source, reason=exc.strerror) from exc
    if not (stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode)):
        raise Invalid("read device", device=source, reason="not a device")
    return Device(
        target=target or source,
        type="c" if stat.S_ISCHR(info.st_mode) else "b",
        major=os.major(info.st_rdev),
        minor=os.minor(info.st_rdev),
        mode=info.st_mode,
        uid=info.st_uid,
        gid=info.st_gid,
        access=access or "rwm",
    )


def _devices(spec: ContainerSpec) -> Iterator[Device]:
    for text in spec.devices:
        yield read_device(text)
    if spec.privileged:
        yield from _all_devices()


def _all_devices() -> Iterator[Device]:
    """What a privileged container sees of /dev, but for what its own mounts provide."""
    own = {"null", "zero", "full", "tty", "random", "urandom", "console", "ptmx", "pts", "shm"}
    for entry in os.scandir("/dev"):
        mode = entry.stat(follow_symlinks=False).st_mode
        if entry.name not in own and (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
            yield read_device(entry.path)


def read_identity(rootfs: Path, process: ProcessSpec) -> Identity:
    """Resolve a process's user in the container's own passwd and group."""

    def read(path: str) -> bytes:
        try:
            return inroot.read_file(rootfs, path)
        except OSError:
            return b""

    return resolve(process.user, process.groups, read)


def _make_cwd(spec: ContainerSpec) -> None:
    cwd = spec.process.cwd or "/"
    if not cwd.startswith("/"):
        raise Invalid("read working directory", cwd=cwd, reason="not absolute")
    if any(cwd == m.target or cwd.startswith(f"{m.target}/") for m in spec.mounts):
        return  # it is to be in that mount, and the runtime makes it there
    try:
        inroot.make_directory(spec.rootfs, cwd, owner=spec.ids.first if spec.ids else 0)
    except OSError as exc:
        raise Invalid("make working directory", cwd=cwd, errno=exc.errno) from exc


def prepare(spec: ContainerSpec, host: Host, cgroup: Cgroup) -> Json:
    """Read the disk for what the configuration needs; changes only a missing working directory.

    Raises:
        Invalid: user, device, its limits or working directory. Unavailable: no init.
    """
    if not spec.rootfs.is_dir():
        raise Missing("find root filesystem", path=spec.rootfs)
    parts = Parts(
        identity=read_identity(spec.rootfs, spec.process),
        devices=tuple(_devices(spec)),
        cgroup=cgroup.path,
        block_io=read_io_limits(spec.io_limits, cgroup),
        init=find_init() if spec.init else "",
    )
    config = build_config(spec, host, parts)
    _make_cwd(spec)
    return config


def write(places: Places, container_id: str, config: Json) -> None:
    """Make the container's directories and its configuration; Conflict if it has some already."""
    bundle = places.bundle(container_id)
    places.log(container_id).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        bundle.mkdir(mode=0o700)
    except FileExistsError as exc:
        raise Conflict("make bundle", id=container_id, reason="it exists") from exc
    (bundle / CONFIG).write_bytes(msgspec.json.encode(config))
    places.live(container_id).mkdir(mode=0o700, exist_ok=True)


def read_config(places: Places, container_id: str) -> Json:
    """The configuration a container was made with; Missing if it is gone."""
    try:
        data = (places.bundle(container_id) / CONFIG).read_bytes()
    except OSError as exc:
        raise Missing("read container's configuration", id=container_id) from exc
    return msgspec.json.decode(data, type=Json)


def read_rootfs(config: Json) -> Path:
    """Where the container's root filesystem is on the host."""
    root = config.get("root")
    if not isinstance(root, dict):
        raise Invalid("read config", field="root")
    return Path(str(root["path"]))


def remove(places: Places, container_id: str) -> None:
    """Delete all files but the logs; the bundle last, for it says that there is work left."""
    for path in (*places.execs(container_id), places.state / container_id):
        remove_tree(path)
    remove_tree(places.live(container_id))
    remove_tree(places.bundle(container_id))

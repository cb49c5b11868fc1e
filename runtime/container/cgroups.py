"""Where a container's cgroup is, what it used, and freezing it: v1, hybrid and v2.

Parsing is pure; the rest reads and writes a few small kernel files.

Source: Linux Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.contract.container import Usage
from runtime.errors import Busy, Unavailable

UNKNOWN: Final = -1
NO_LIMIT_BYTES: Final = 1 << 62  # v1 says "no limit" as LONG_MAX rounded to a page
NS_PER_US: Final = 1000
NS_PER_S: Final = 1_000_000_000
CONMONS: Final = "conmon"  # no container's: those have 64 hex digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which hierarchy each controller lives in."""

    v1: Mapping[str, Path]  # controller: mount point; empty on a v2 host
    unified: Path | None  # the v2 mount, if there is one

    @property
    def is_v2(self) -> bool:
        return not self.v1 and self.unified is not None

    @property
    def is_hybrid(self) -> bool:
        return bool(self.v1) and self.unified is not None

    def roots(self) -> list[Path]:
        """Every hierarchy a container may have a directory in."""
        found = [*self.v1.values(), *([self.unified] if self.unified else [])]
        return list(dict.fromkeys(found))

    def root(self, controller: str) -> Path | None:
        """The hierarchy of one controller."""
        return self.v1.get(controller) or (self.unified if self.is_v2 else None)


def parse_mountinfo(text: str) -> Layout:
    """Find the cgroup mounts; the first mount of a controller counts."""
    v1: dict[str, Path] = {}
    unified = None
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        point = Path(fields[4].encode().decode("unicode_escape"))
        if kind[0] == "cgroup2" and unified is None:
            unified = point
        elif kind[0] == "cgroup":
            for name in kind[2].split(","):
                if name not in {"rw", "ro"}:
                    v1.setdefault(name, point)
    return Layout(v1=v1, unified=unified)


def parse_flat(text: str) -> dict[str, int]:
    """``name value`` lines, as memory.stat has them."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if value.strip().isdigit():
            found[name] = int(value)
    return found


def parse_value(text: str) -> int:
    """One number; "max", a v1 "no limit" and nothing at all are -1."""
    word = text.strip()
    if not word.isascii() or not word.isdigit():
        return UNKNOWN
    value = int(word)
    return UNKNOWN if value >= NO_LIMIT_BYTES else value


def parse_blkio_v1(text: str) -> tuple[int, int]:
    """Bytes read and written, from ``blkio.throttle.io_service_bytes``."""
    sums = {"Read": 0, "Write": 0}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in sums and words[2].isdigit():
            sums[words[1]] += int(words[2])
    return sums["Read"], sums["Write"]


def parse_io_v2(text: str) -> tuple[int, int]:
    """Bytes read and written, from ``io.stat``."""
    sums = {"rbytes": 0, "wbytes": 0}
    for line in text.splitlines():
        for word in line.split()[1:]:
            name, _, value = word.partition("=")
            if name in sums and value.isdigit():
                sums[name] += int(value)
    return sums["rbytes"], sums["wbytes"]


def _read(path: Path) -> str:
    """The file's text, "" if it is not there."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroup:
    """One container's directories in all hierarchies."""

    layout: Layout
    path: str  # below each hierarchy's root, with a leading slash

    def _file(self, controller: str, name: str) -> Path:
        root = self.layout.root(controller) or Path("/nonexistent")
        return Path(f"{root}{self.path}/{name}")

    def directories(self) -> list[Path]:
        """Those that exist."""
        found = (Path(f"{root}{self.path}") for root in self.layout.roots())
        return [path for path in found if path.is_dir()]

    def read_pids(self) -> list[int]:
        """All processes, also in cgroups the container made below its own."""
        pids: dict[int, None] = {}
        for top in self.directories():
            for path in _tree(top):
                words = _read(path / "cgroup.procs").split()
                pids.update(dict.fromkeys(map(int, words)))
        return [pid for pid in pids if pid > 0]

    def read_usage(self) -> Usage:
        """The counters now; -1 where the kernel keeps none."""
        return self._usage_v2() if self.layout.is_v2 else self._usage_v1()

    def read_oom_kills(self) -> int:
        """How often the kernel killed a process of this cgroup for memory; 0 if unknown."""
        if self.layout.is_v2:
            return parse_flat(_read(self._file("memory", "memory.events"))).get("oom_kill", 0)
        return parse_flat(_read(self._file("memory", "memory.oom_control"))).get("oom_kill", 0)

    def is_frozen(self) -> bool:
        if self.layout.is_v2:
            return parse_flat(_read(self._file("freezer", "cgroup.events"))).get("frozen") == 1
        return _read(self._file("freezer", "freezer.state")).strip() == "FROZEN"

    def set_frozen(self, *, frozen: bool) -> None:
        """Ask the kernel to freeze or thaw; `is_frozen` says when it is done."""
        if self.layout.is_v2:
            file, value = self._file("freezer", "cgroup.freeze"), str(int(frozen))
        else:
            file, value = self._file("freezer", "freezer.state"), "FROZEN" if frozen else "THAWED"
        try:
            file.write_text(value, encoding="ascii")
        except OSError as exc:
            raise Unavailable("freeze cgroup", path=self.path, errno=exc.errno) from exc

    def remove(self) -> None:
        """Remove all directories; Busy while a process is left. Idempotent."""
        for top in self.directories():
            for path in reversed(list(_tree(top))):
                _rmdir(path)

    def _flat(self, controller: str, name: str) -> dict[str, int]:
        return parse_flat(_read(self._file(controller, name)))

    def _value(self, controller: str, name: str) -> int:
        return parse_value(_read(self._file(controller, name)))

    def _usage_v1(self) -> Usage:
        tick_ns = NS_PER_S // os.sysconf("SC_CLK_TCK")
        stat, memory = self._flat("cpuacct", "cpuacct.stat"), self._flat("memory", "memory.stat")
        read, write = parse_blkio_v1(
            _read(self._file("blkio", "blkio.throttle.io_service_bytes_recursive"))
        )
        return Usage(
            cpu_ns=self._value("cpuacct", "cpuacct.usage"),
            cpu_user_ns=stat.get("user", 0) * tick_ns,
            cpu_system_ns=stat.get("system", 0) * tick_ns,
            throttled_ns=self._flat("cpu", "cpu.stat").get("throttled_time", UNKNOWN),
            memory_bytes=self._value("memory", "memory.usage_in_bytes"),
            memory_cache_bytes=memory.get("total_inactive_file", UNKNOWN),
            memory_limit_bytes=self._value("memory", "memory.limit_in_bytes"),
            memory_max_bytes=self._value("memory", "memory.max_usage_in_bytes"),
            oom_events=self._flat("memory", "memory.oom_control").get("oom_kill", UNKNOWN),
            pids=self._value("pids", "pids.current"),
            pids_limit=self._value("pids", "pids.max"),
            blkio_read_bytes=read,
            blkio_write_bytes=write,
        )

    def _usage_v2(self) -> Usage:
        cpu = self._flat("", "cpu.stat")
        read, write = parse_io_v2(_read(self._file("", "io.stat")))
        return Usage(
            cpu_ns=cpu.get("usage_usec", 0) * NS_PER_US,
            cpu_user_ns=cpu.get("user_usec", 0) * NS_PER_US,
            cpu_system_ns=cpu.get("system_usec", 0) * NS_PER_US,
            throttled_ns=cpu.get("throttled_usec", 0) * NS_PER_US,
            memory_bytes=self._value("", "memory.current"),
            memory_cache_bytes=self._flat("", "memory.stat").get("inactive_file", UNKNOWN),
            memory_limit_bytes=self._value("", "memory.max"),
            memory_max_bytes=self._value("", "memory.peak"),
            oom_events=self._flat("", "memory.events").get("oom_kill", UNKNOWN),
            pids=self._value("", "pids.current"),
            pids_limit=self._value("", "pids.max"),
            blkio_read_bytes=read,
            blkio_write_bytes=write,
        )


def _tree(top: Path) -> Iterator[Path]:
    """The directory and all below it, parents first."""
    for path, _, _ in os.walk(top):
        yield Path(path)


def _rmdir(path: Path) -> None:
    try:
        path.rmdir()
    except FileNotFoundError:
        return
    except OSError as exc:
        if exc.errno == errno.EBUSY:
            raise Busy("remove cgroup", path=path, reason="a process is left") from exc
        raise


def children(layout: Layout, parent: str) -> set[str]:
    """Names of the cgroups below ``parent`` in any hierarchy."""
    found: set[str] = set()
    for root in layout.roots():
        top = Path(f"{root}{parent}")
        if top.is_dir():
            found |= {entry.name for entry in os.scandir(top) if entry.is_dir()}
    return found


def set_conmon_apart(layout: Layout, parent: str, pid: int) -> None:
    """Move a conmon from the agent's cgroup to one beside the containers; v2 only.

    systemd signals all of a unit's cgroup (``systemctl kill``), and stops the unit when the kernel
    kills one of it for memory: neither may reach what has to outlive the agent.
    """
    if not layout.is_v2 or pid <= 0:  # to the kernel 0 is the writer: the agent itself
        return
    with contextlib.suppress(OSError):  # it has ended, or may not be moved: it stays where it is
        top = Path(f"{layout.unified}/{parent}/{CONMONS}")
        top.mkdir(parents=True, exist_ok=True)
        (top / "cgroup.procs").write_text(str(pid), encoding="ascii")

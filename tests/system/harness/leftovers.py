"""What one agent has in the kernel and on disk, as text that can be compared."""

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.system.harness.namespace import Namespace

SETTLE_S = 15.0  # PID 1 may reap orphans 2 s late, and namespaces end asynchronously
LOOK_S = 0.1
PROC = Path("/proc")

# What the agent itself keeps, running or not, in its own root and run directory.
OWN_FILES = ("nodeagent.sock", "nodeagent.pid", "state.db", "state.sqlite", "lock", "audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything found, by kind; equal snapshots mean that nothing came or went."""

    found: Mapping[str, Mapping[str, int]]

    def differences(self, later: "Snapshot") -> list[str]:
        """What came (+) and what went (-), one a line."""
        lines = []
        for kind, before in self.found.items():
            now = later.found[kind]
            lines += [f"+ {kind}: {text}" for text in now if now[text] > before.get(text, 0)]
            lines += [f"- {kind}: {text}" for text in before if before[text] > now.get(text, 0)]
        return sorted(lines)


def read_snapshot(space: Namespace, base: Path, cgroup: str) -> Snapshot:
    """Look at everything an agent could leave behind."""
    pids = pids_of(base, cgroup)
    found = {
        "link": _lines(space, "ip", "-o", "link", "show"),
        "address": _lines(space, "ip", "-o", "address", "show"),
        "route": _routes(space),
        "nft": _lines(space, "nft", "-s", "list", "ruleset"),
        "forwarding": _lines(
            space, "sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"
        ),
        "port": _lines(space, "ss", "-Hlntu"),
        "mount": mounts_below(base),
        "cgroup": [str(path) for path in cgroup_directories(cgroup)],
        "process": [_words(pid) for pid in pids],
        "file": _files(base),
    }
    return Snapshot(found={kind: Counter(map(_stable, texts)) for kind, texts in found.items()})


def wait_for(before: Snapshot, look: Callable[[], Snapshot]) -> None:
    """Return when things look as in ``before``; else fail with the differences."""
    deadline = time.monotonic() + SETTLE_S
    while differences := before.differences(look()):
        if time.monotonic() > deadline:
            raise AssertionError("left behind or lost:\n" + "\n".join(differences))
        time.sleep(LOOK_S)


def mounts_below(base: Path) -> list[str]:
    """Mount points below ``base``, oldest first."""
    lines = (PROC / "self/mountinfo").read_text("utf-8").splitlines()
    points = (line.split()[4] for line in lines)
    return [point for point in points if point.startswith(f"{base}/")]


def cgroup_directories(cgroup: str) -> list[Path]:
    """Directories below the agent's parent cgroup in every hierarchy, parents first."""
    lines = (PROC / "self/mountinfo").read_text("utf-8").splitlines()
    tops = [line.split()[4] for line in lines if line.partition(" - ")[2].startswith("cgroup")]
    found: list[Path] = []
    for top in dict.fromkeys(tops):
        for path, _, _ in os.walk(f"{top}{cgroup}"):
            found.append(Path(path))
    return [path for path in found if path.name != cgroup.strip("/")]


def pids_of(base: Path, cgroup: str) -> list[int]:
    """Live processes in the agent's cgroups, and conmons and runtimes that name its paths."""
    found: set[int] = set()
    for entry in PROC.iterdir():
        if entry.name.isdigit() and _is_ours(entry, str(base), cgroup):
            found.add(int(entry.name))
    return sorted(found)


def remove_cgroups(cgroup: str, *, within_s: float) -> None:
    """Remove the agent's cgroups, the parent too; processes killed a moment ago may still be in.

    A test that failed may leave frozen ones: on v1 what is in them does not even die.
    """
    for path in _all_cgroups(cgroup):
        _thaw(path)
    deadline = time.monotonic() + within_s
    while left := [path for path in _all_cgroups(cgroup) if not _removed(path)]:
        if time.monotonic() > deadline:
            raise AssertionError(f"cgroups are busy: {left}")
        time.sleep(LOOK_S)


def _all_cgroups(cgroup: str) -> list[Path]:
    tops = {Path(f"/sys/fs/cgroup{cgroup}"), *Path("/sys/fs/cgroup").glob(f"*{cgroup}")}
    return [*reversed(cgroup_directories(cgroup)), *(top for top in tops if top.is_dir())]


def _thaw(path: Path) -> None:
    for name, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        with suppress(FileNotFoundError, PermissionError):  # one is there, or neither, or no more
            fd = os.open(path / name, os.O_WRONLY)
            with os.fdopen(fd, "w") as file:
                file.write(value)


def _removed(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _is_ours(entry: Path, base: str, cgroup: str) -> bool:
    """Zombies are not: they hold nothing, and PID 1 takes its time."""
    try:
        state = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
        groups = (entry / "cgroup").read_text("utf-8").splitlines()
        words = (entry / "cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    if state in "ZX":
        return False
    inside = any(line.split(":", 2)[2].startswith(f"{cgroup}/") for line in groups)
    program = Path(os.fsdecode(words[0])).name
    tool = program in {"conmon", "crun", "runc", "unshare"}
    return inside or (tool and any(f"{base}/".encode() in word for word in words))


def _words(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return f"ended just now: {pid}"


def _lines(space: Namespace, *args: str) -> list[str]:
    return space.run(*args).stdout.splitlines()


def _routes(space: Namespace) -> list[str]:
    """But for IPv6's multicast routes: the kernel adds one when a bridge gets its first port."""
    lines = _lines(space, "ip", "-o", "route", "show", "table", "all")
    return [line.replace(" linkdown", "") for line in lines if "multicast ff00::/8" not in line]


def _files(base: Path) -> list[str]:
    """Files and directories of the agent, but for its database, audit log and sockets."""
    found = []
    for top in ("run", "lib"):
        for path, directories, files in os.walk(base / top):
            at = Path(path).relative_to(base)
            found += [f"{at}/{name}" for name in (*directories, *files) if _counts(name)]
    return found


def _counts(name: str) -> bool:
    return not name.startswith(OWN_FILES)


def _stable(text: str) -> str:
    """Without what differs between two looks at the same thing."""
    words = text.replace("NO-CARRIER,", "").replace(",LOWER_UP", "").split()
    for word in ("expires", "valid_lft", "preferred_lft", "qlen", "state"):
        while word in words:
            at = words.index(word)
            del words[at : at + 2]
    return " ".join(words)

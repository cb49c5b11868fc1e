"""The watchdog: a process of its own that stops writers whose lease may be another's soon.

It reads a file which the agent replaces at each renewal and does nothing else, so it goes on when
the agent is dead, stopped or cut off.
Run as ``python -m runtime.container.fence FILE CGROUP_PARENT``.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from runtime.container.cgroups import Cgroup, parse_mountinfo
from runtime.contract.fence import Book, Ward
from runtime.errors import Unavailable

LOOK_S: Final = 0.2  # between two looks: a suspended machine wakes into one of them


def boot_s() -> float:
    """Seconds since the machine started, those in suspend too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Watchdog:
    """Acts on wards whose time is over, again and again until the file says otherwise."""

    def __init__(self, path: Path, parent: str) -> None:
        self._path = path
        self._parent = parent
        self._book = Book()
        self._told: set[tuple[str, float]] = set()  # sent SIGTERM for this time
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        self._layout = parse_mountinfo(mounts)

    def look(self, now_s: float) -> bool:
        """Do what is due; False once there is no file any more."""
        try:
            self._book = msgspec.json.decode(self._path.read_bytes(), type=Book)
        except FileNotFoundError:
            return False
        except (OSError, msgspec.DecodeError):  # go by what was read last: it only gets stricter
            pass
        for ward in self._book.wards:
            if now_s >= ward.until_s:
                self._act(ward, now_s)
        return True

    def _act(self, ward: Ward, now_s: float) -> None:
        cgroup = Cgroup(layout=self._layout, path=f"/{self._parent}/{ward.container}")
        if ward.policy == "pause" and not ward.is_lost:
            with contextlib.suppress(Unavailable):  # it is not there yet, or not any more
                cgroup.set_frozen(frozen=True)
            return
        is_over = ward.is_lost or ward.policy == "kill" or now_s >= ward.until_s + ward.grace_s
        key = (ward.container, ward.until_s)
        if is_over or key not in self._told:
            self._told.add(key)
            self._signal(cgroup, signal.SIGKILL if is_over else signal.SIGTERM)

    @staticmethod
    def _signal(cgroup: Cgroup, number: signal.Signals) -> None:
        for pid in cgroup.read_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if cgroup.is_frozen():
            with contextlib.suppress(Unavailable):
                cgroup.set_frozen(frozen=False)  # else they would not hear of it


def main(path: str, parent: str) -> None:
    """Watch until the file is gone."""
    with contextlib.suppress(OSError):  # the kernel must not choose it when memory is short
        Path("/proc/self/oom_score_adj").write_text("-1000", encoding="ascii")
    watchdog = Watchdog(Path(path), parent)
    while watchdog.look(boot_s()):
        time.sleep(LOOK_S)


if __name__ == "__main__":
    main(*sys.argv[1:])

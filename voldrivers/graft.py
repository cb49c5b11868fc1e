"""Exchange a mount inside a container for one of the host, while the container runs.

Run as a program of its own, ``python -m voldrivers.graft PID SOURCE TARGET ro|rw``: to enter
another mount namespace a process must have one thread. The new mount is taken on the host as a
detached copy, so nothing of the container is followed on the host; TARGET is resolved inside.
Source: open_tree(2), move_mount(2), mount_setattr(2), setns(2).
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from voldrivers.inroot import enter_mounts, put_tree, take_tree


def main(argv: Sequence[str]) -> int:
    """Do it; the exit code, with the reason on standard error."""
    pid, source, target, mode = argv
    try:
        tree = take_tree(source, read_only=mode == "ro")
        namespace = os.open(f"/proc/{int(pid)}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        enter_mounts(namespace)
        put_tree(tree, target)
    except OSError as exc:
        sys.stderr.write(f"{exc.filename or target}: {exc.strerror}\n")
        return 1
    return 0


def command(pid: int, source: Path, target: str, *, read_only: bool) -> list[str]:
    """How the program is called."""
    mode = "ro" if read_only else "rw"
    return [sys.executable, "-m", "voldrivers.graft", str(pid), str(source), target, mode]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

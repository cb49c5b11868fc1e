"""A part of a volume as a mount of its own, whatever links the volume holds.

The part is opened as a process chrooted to the volume would find it, and mounted by its
descriptor; so nobody can exchange it for a link between the look and the mount.
Source: openat2(2) RESOLVE_IN_ROOT; mount(8) -c, which leaves /proc/PID/fd/N to the kernel.
"""

import errno
import os
from pathlib import Path

import trio

from voldrivers import child, graft
from voldrivers.errors import Missing, Refused, Unavailable
from voldrivers.folders import translated
from voldrivers.inroot import open_path_in
from voldrivers.mountinfo import parse_mountinfo, targets_below
from voldrivers.mounting import unmount


class Subpaths:
    """Mounts of parts of volumes, at RUN/subpaths/CONTAINER/N."""

    def __init__(self, run: Path) -> None:
        self._folder = run / "subpaths"

    async def open(self, container_id: str, n: int, volume: Path, subpath: str) -> Path:
        """Mount a folder or file of a volume; where it is.

        Raises:
            Missing: the volume has nothing there. Refused: a link leads out, or the kernel said no.
        """
        target = self._folder / container_id / str(n)
        fd = await trio.to_thread.run_sync(_open, volume, subpath, target)
        try:
            source = f"/proc/{os.getpid()}/fd/{fd}"
            done = await child.run(
                "mount", "-n", "-c", "-o", "bind", "--source", source, "--target", str(target)
            )
        finally:
            os.close(fd)
        if done.code:
            raise Refused("could not mount the subpath", subpath=subpath, says=done.says)
        return target

    async def graft(self, pid: int, source: Path, target: str, *, read_only: bool) -> None:
        """Exchange a mount inside a running container for one of the host.

        Raises:
            Refused: what the kernel said.
        """
        done = await child.run(*graft.command(pid, source, target, read_only=read_only))
        if done.code:
            raise Refused("could not mount in the container", target=target, says=done.says)

    async def close(self, container_id: str) -> None:
        """Unmount all parts a container has; nothing to do if it has none."""
        folder = self._folder / container_id
        if not await trio.Path(folder).exists():
            return
        text = await trio.Path("/proc/self/mountinfo").read_bytes()
        for target in targets_below(parse_mountinfo(text), folder):
            await unmount(target, force=True)
        await trio.to_thread.run_sync(_remove, folder)

    async def ls(self) -> list[str]:
        """Containers that have parts mounted, or had when an agent was killed."""
        return await trio.to_thread.run_sync(_ls, self._folder)


def _open(volume: Path, subpath: str, target: Path) -> int:
    try:
        fd = open_path_in(volume, subpath)
    except OSError as exc:
        if exc.errno in {errno.ENOENT, errno.ENOTDIR}:
            raise Missing("the volume has no such subpath", subpath=subpath) from exc
        leaf = Refused if exc.errno == errno.ELOOP else Unavailable
        raise leaf("could not open the subpath", subpath=subpath, why=exc.strerror) from exc
    with translated("make a place for the subpath", target.parent.name):
        target.parent.mkdir(parents=True, exist_ok=True)
        if Path(f"/proc/self/fd/{fd}").is_dir():
            target.mkdir(exist_ok=True)
        else:
            target.touch()
    return fd


def _remove(folder: Path) -> None:
    with translated("remove the places of subpaths", folder.name):
        for entry in folder.iterdir():
            if entry.is_dir():
                entry.rmdir()
            else:
                entry.unlink()
        folder.rmdir()


def _ls(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return []

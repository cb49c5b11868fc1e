"""Volumes as directories: ROOT/volumes/NAME/_data, laid out and permitted as Docker does.

Names that begin with a dot are ours and never a volume's: ``.new-…`` is being made, ``.trash-…``
is being deleted. Both change to and from a volume by one rename, so whatever a kill leaves behind
is one of them, and ``clean`` removes it.
"""

import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, Literal, TypeVar

import trio

from voldrivers.contract import VolumeHealth, VolumeSpec, VolumeUsage
from voldrivers.errors import (
    Busy,
    Conflict,
    Exhausted,
    Invalid,
    Missing,
    Refused,
    Unavailable,
    VolDriverError,
)
from voldrivers.inroot import FOLDER
from voldrivers.mountinfo import parse_mountinfo, targets_below
from voldrivers.tree import TooMuch, delete_tree, measure_tree

_T = TypeVar("_T")

NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
DATA: Final = "_data"
STAGING: Final = ".copyup"  # beside DATA: a copy of image content that is not complete
LATER: Final = ("type", "o", "device", "size")  # Docker's local driver has them
OUTER_MODE: Final = 0o701
DATA_MODE: Final = 0o755
USAGE_BUDGET_S: Final = 2.0  # guess: about 400,000 files
USAGE_REST: Final = 20  # guess: we walk at most a twentieth of the time, small volumes often
USAGE_TOO_BIG_S: Final = 300.0  # guess: how long we do not try again
UNKNOWN: Final = VolumeUsage(used_bytes=-1, inodes=-1)


class Local:
    """``voldrivers.contract.VolumeDriver`` for one agent's root."""

    name: ClassVar[str] = "local"
    scope: ClassVar[Literal["local", "global"]] = "local"

    def __init__(self, root: Path) -> None:
        self._folder = root / "volumes"
        self._quick = trio.CapacityLimiter(2)
        self._slow = trio.CapacityLimiter(2)  # trees: they must not make a create wait
        self._usage: dict[str, tuple[float, VolumeUsage]] = {}  # name: good until, value

    def check(self, volume: VolumeSpec) -> None:
        """Refuse bad names and every option (Invalid)."""
        _check_name(volume.name)
        for option in volume.options:
            why = "is not supported yet" if option in LATER else "is unknown"
            raise Invalid(
                f"option {option!r} of the local volume driver {why}; it takes none",
                field="options",
                value=option,
            )

    async def create(self, volume: VolumeSpec) -> None:
        """Make the directory if it is not there."""
        self.check(volume)
        await self._run("create the volume", volume.name, partial(_create, name=volume.name))

    async def remove(self, volume: VolumeSpec) -> None:
        """Delete the volume and its data.

        Raises:
            Busy: something is mounted on it or in it.
        """
        _check_name(volume.name)
        self._usage.pop(volume.name, None)
        trash = f".trash-{secrets.token_hex(8)}"
        mounts = await trio.Path("/proc/self/mountinfo").read_bytes()
        used = targets_below(parse_mountinfo(mounts), self._folder / volume.name)
        if used:
            raise Busy("something is mounted in the volume", name=volume.name, at=used[0])
        discard = partial(_discard, name=volume.name, trash=trash)
        if await self._run("remove the volume", volume.name, discard):
            delete = partial(delete_tree, name=trash)
            await self._run("delete the volume's data", volume.name, delete, slow=True)

    async def clean(self) -> None:
        """Remove what an earlier, killed agent left half-made or half-deleted. Only at start."""
        await self._run("clean the volumes", "", _clean, slow=True)

    async def mount(self, volume: VolumeSpec, user: str) -> Path:
        """Nothing to mount: check that the bytes are there and say where."""
        health = await self.health(volume)
        if health.state != "healthy":
            raise Missing("the volume's data is not there", name=volume.name, reason=health.reason)
        return self.mountpoint(volume)

    async def unmount(self, volume: VolumeSpec, user: str) -> None:
        """Nothing was mounted."""

    def mountpoint(self, volume: VolumeSpec) -> Path:
        """Where the bytes are, or would be."""
        _check_name(volume.name)
        return self._folder / volume.name / DATA

    async def usage(self, volume: VolumeSpec) -> VolumeUsage:
        """Disk use, as old as 20 walks take at most; unknown if the tree is too large to count."""
        _check_name(volume.name)
        until, known = self._usage.get(volume.name, (0.0, UNKNOWN))
        if trio.current_time() < until:
            return known
        began = trio.current_time()
        measure = partial(_measure, name=volume.name)
        usage = await self._run("measure the volume", volume.name, measure, slow=True)
        took_s = trio.current_time() - began
        fresh_s = took_s * USAGE_REST if usage.used_bytes >= 0 else USAGE_TOO_BIG_S
        self._usage[volume.name] = (trio.current_time() + fresh_s, usage)
        return usage

    async def health(self, volume: VolumeSpec) -> VolumeHealth:
        """Whether the directory is there and can be read."""
        _check_name(volume.name)
        try:
            await self._run("open the volume", volume.name, partial(_probe, name=volume.name))
        except VolDriverError as exc:
            return VolumeHealth(state="unhealthy", reason=str(exc))
        return VolumeHealth(state="healthy")

    async def ls(self) -> list[str]:
        """Names of all volumes on disk."""
        return await self._run("list the volumes", "", _ls)

    async def _run(
        self, doing: str, name: str, call: Callable[[int], _T], *, slow: bool = False
    ) -> _T:
        def run() -> _T:
            with _translated(doing, name), _opened(self._folder) as fd:
                return call(fd)

        limiter = self._slow if slow else self._quick
        return await trio.to_thread.run_sync(run, limiter=limiter)


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise Invalid("not a volume name", field="name", value=name)


# --- in the thread; ``fd`` is ROOT/volumes, and no path is followed from anywhere else -----------


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    folder.mkdir(mode=OUTER_MODE, parents=True, exist_ok=True)
    fd = os.open(folder, FOLDER)
    try:
        yield fd
    finally:
        os.close(fd)


def _open_data(fd: int, name: str) -> int:
    outer = os.open(name, FOLDER, dir_fd=fd)
    try:
        return os.open(DATA, FOLDER, dir_fd=outer)
    finally:
        os.close(outer)


def _probe(fd: int, name: str) -> None:
    os.close(_open_data(fd, name))


def _create(fd: int, name: str) -> None:
    try:
        _probe(fd, name)
    except FileNotFoundError:
        _make(fd, name)


def _make(fd: int, name: str) -> None:
    new = f".new-{secrets.token_hex(8)}"
    _mkdir(fd, new, OUTER_MODE)
    outer = os.open(new, FOLDER, dir_fd=fd)
    try:
        _mkdir(outer, DATA, DATA_MODE)
        os.fsync(outer)
    finally:
        os.close(outer)
    try:
        os.rename(new, name, src_dir_fd=fd, dst_dir_fd=fd)  # replaces an empty directory only
    except OSError:
        delete_tree(fd, new)
        _probe(fd, name)  # another create of the same name was quicker: good
    os.fsync(fd)


def _mkdir(fd: int, name: str, mode: int) -> None:
    os.mkdir(name, mode, dir_fd=fd)
    inner = os.open(name, FOLDER, dir_fd=fd)
    try:
        os.fchmod(inner, mode)  # whatever the umask
    finally:
        os.close(inner)


def _discard(fd: int, name: str, trash: str) -> bool:
    try:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "not a directory", name)
    os.rename(name, trash, src_dir_fd=fd, dst_dir_fd=fd)
    os.fsync(fd)
    return True


def _clean(fd: int) -> None:
    with os.scandir(fd) as entries:
        found = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for name in found:
        if name.startswith((".trash-", ".new-")):
            delete_tree(fd, name)
        elif NAME.fullmatch(name):
            outer = os.open(name, FOLDER, dir_fd=fd)
            try:
                delete_tree(outer, STAGING)
                _clean_trash(outer)
            finally:
                os.close(outer)


def _clean_trash(outer: int) -> None:
    """Directories that a killed ``delete_tree`` had moved up beside ``_data``."""
    for name in os.listdir(outer):
        if name.startswith(".trash-"):
            delete_tree(outer, name)


def _measure(fd: int, name: str) -> VolumeUsage:
    data = _open_data(fd, name)
    try:
        size = measure_tree(data, budget_s=USAGE_BUDGET_S, check=trio.from_thread.check_cancelled)
    except TooMuch:
        return UNKNOWN
    finally:
        os.close(data)
    return VolumeUsage(used_bytes=size.bytes, inodes=size.inodes)


def _ls(fd: int) -> list[str]:
    with os.scandir(fd) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return sorted(name for name in names if NAME.fullmatch(name))


_ERRORS: Final[dict[int, type[VolDriverError]]] = {
    errno.ENOENT: Missing,
    errno.ENOTDIR: Conflict,
    errno.ELOOP: Conflict,
    errno.EEXIST: Conflict,
    errno.ENOTEMPTY: Conflict,
    errno.EBUSY: Busy,
    errno.ENOSPC: Exhausted,
    errno.EDQUOT: Exhausted,
    errno.EMFILE: Exhausted,
    errno.EPERM: Refused,
    errno.EACCES: Refused,
    errno.EROFS: Refused,
}


@contextmanager
def _translated(doing: str, name: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        leaf = _ERRORS.get(exc.errno or 0, Unavailable)
        raise leaf(f"could not {doing}: {exc.strerror}", name=name, path=exc.filename) from exc

"""Where all volumes of this host have their place: ROOT/volumes/NAME, permitted as Docker does.

Names that begin with a dot are ours and never a volume's: ``.new-…`` is being made, ``.trash-…``
is being deleted. Both change to and from a volume by one rename, so whatever a kill leaves behind
is one of them, and ``clean`` removes it.
"""

import errno
import os
import re
import secrets
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import trio

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
from voldrivers.inroot import FOLDER, exchange
from voldrivers.mountinfo import parse_mountinfo, targets_below
from voldrivers.tree import delete_tree

_T = TypeVar("_T")

# a volume's name, and after an @ the label of what was made of it
NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*(@[a-zA-Z0-9][a-zA-Z0-9_.-]*)?")
NAME_MAX: Final = 255
DATA: Final = "_data"
STAGING: Final = ".copyup"  # beside DATA: a copy of image content that is not complete
OUTER_MODE: Final = 0o701
DATA_MODE: Final = 0o755


class Folders:
    """The directories of one agent's volumes; one object per driver, all on one place."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "volumes"
        self._quick = trio.CapacityLimiter(2)
        self._slow = trio.CapacityLimiter(2)  # trees: they must not make a create wait

    def path(self, name: str) -> Path:
        """The volume's outer directory; no I/O.

        Raises:
            Invalid: not a name.
        """
        if not NAME.fullmatch(name) or len(name) > NAME_MAX:
            raise Invalid("not a volume name", field="name", value=name)
        return self._folder / name

    async def has(self, name: str) -> bool:
        """Whether the volume has its outer directory."""
        self.path(name)
        return await self.run("look for the volume", name, partial(_has, name=name))

    @asynccontextmanager
    async def making(self, name: str) -> AsyncIterator[Path]:
        """A directory to build the volume in; it gets its name when all went well.

        Must not be entered for a volume that is there. If another one was quicker, ours goes.
        """
        self.path(name)
        new = f".new-{secrets.token_hex(8)}"
        await self.run("make the volume", name, partial(make_folder, name=new, mode=OUTER_MODE))
        try:
            yield self._folder / new
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.run("undo", name, partial(delete_tree, name=new), slow=True)
            raise
        await self.run("make the volume", name, partial(_install, new=new, name=name))

    async def discard(self, name: str) -> None:
        """Delete the directory and all in it; nothing to do if it is gone.

        Raises:
            Busy: something is mounted on it or in it.
        """
        await self.check_unmounted(name)
        trash = f".trash-{secrets.token_hex(8)}"
        if await self.run("remove the volume", name, partial(_discard, name=name, trash=trash)):
            delete = partial(delete_tree, name=trash)
            await self.run("delete the volume's data", name, delete, slow=True)

    async def rename(self, name: str, new: str) -> None:
        """Give a volume another name; done if only the new one is there.

        Raises:
            Missing: neither is there. Conflict: both are. Busy: something is mounted in it.
        """
        self.path(new)
        await self.check_unmounted(name)
        await self.run("rename the volume", name, partial(_rename, name=name, new=new))

    async def swap(self, name: str, other: str) -> None:
        """Exchange two volumes in one step.

        Raises:
            Missing: one is not there. Busy: something is mounted in one.
        """
        await self.check_unmounted(name)
        await self.check_unmounted(other)
        await self.run("exchange the volumes", name, partial(_swap, name=name, other=other))

    async def check_unmounted(self, name: str) -> None:
        """Refuse while something is mounted on the volume or in it (Busy says where)."""
        mounts = await trio.Path("/proc/self/mountinfo").read_bytes()
        used = targets_below(parse_mountinfo(mounts), self.path(name))
        if used:
            raise Busy("something is mounted in the volume", name=name, at=used[0])

    async def clean(self) -> None:
        """Remove what an earlier, killed agent left half-made or half-deleted. Only at start."""
        await self.run("clean the volumes", "", _clean, slow=True)

    async def run(
        self, doing: str, name: str, call: Callable[[int], _T], *, slow: bool = False
    ) -> _T:
        """Call with a descriptor of ROOT/volumes, in a thread; OSErrors become ours."""

        def run() -> _T:
            with translated(doing, name), _opened(self._folder) as fd:
                return call(fd)

        limiter = self._slow if slow else self._quick
        return await trio.to_thread.run_sync(run, limiter=limiter)


# --- in the thread; ``fd`` is ROOT/volumes, and no path is followed from anywhere else -----------


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    folder.mkdir(mode=OUTER_MODE, parents=True, exist_ok=True)
    fd = os.open(folder, FOLDER)
    try:
        yield fd
    finally:
        os.close(fd)


def make_folder(fd: int, name: str, mode: int) -> None:
    """Make a directory of exactly that mode, whatever the umask."""
    os.mkdir(name, mode, dir_fd=fd)
    set_mode(fd, name, mode)


def set_mode(fd: int, name: str, mode: int) -> None:
    """Give a directory exactly that mode."""
    inner = os.open(name, FOLDER, dir_fd=fd)
    try:
        os.fchmod(inner, mode)
    finally:
        os.close(inner)


def _has(fd: int, name: str) -> bool:
    try:
        os.close(os.open(name, FOLDER, dir_fd=fd))
    except FileNotFoundError:
        return False
    return True


def _install(fd: int, new: str, name: str) -> None:
    outer = os.open(new, FOLDER, dir_fd=fd)
    try:
        os.fsync(outer)
    finally:
        os.close(outer)
    try:
        os.rename(new, name, src_dir_fd=fd, dst_dir_fd=fd)  # replaces an empty directory only
    except OSError:
        delete_tree(fd, new)
        if not _has(fd, name):
            raise
        # another create of the same name was quicker: good
    os.fsync(fd)


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


def _rename(fd: int, name: str, new: str) -> None:
    if _has(fd, new):
        if _has(fd, name):
            raise FileExistsError(errno.EEXIST, "there is a volume of this name", new)
        return
    os.rename(name, new, src_dir_fd=fd, dst_dir_fd=fd)
    os.fsync(fd)


def _swap(fd: int, name: str, other: str) -> None:
    exchange(fd, name, other)
    os.fsync(fd)


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
    with os.scandir(outer) as entries:
        found = [entry.name for entry in entries if entry.name.startswith(".trash-")]
    for name in found:
        delete_tree(outer, name)


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
def translated(doing: str, name: str) -> Iterator[None]:
    """Have every OSError say what was being done with which volume."""
    try:
        yield
    except OSError as exc:
        leaf = _ERRORS.get(exc.errno or 0, Unavailable)
        raise leaf(f"could not {doing}: {exc.strerror}", name=name, path=exc.filename) from exc

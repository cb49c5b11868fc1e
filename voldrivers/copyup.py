"""First use of an empty volume over image content: the content is copied into the volume.

Two steps, each of which a kill may cut short without harm. First the image's tree is copied to a
staging directory beside the volume's data, or in it if that is a file system of its own. When it is
whole and on disk it gets a name that says so. Then its entries move into the volume, one rename
each, never over one that is there. Staging without the final name is thrown away and copied again;
with it, the moves go on.

The volume may be a mount of somebody who died: a copy that makes no step for long is left to its
fate, a thread that no signal wakes, and none is begun for this volume until that one has ended.
"""

import errno
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

import trio
from outcome import Outcome

from voldrivers.copytree import TooDeep, copy_contents, copy_metadata
from voldrivers.errors import Exhausted, Refused, Unavailable
from voldrivers.folders import DATA, STAGING
from voldrivers.inroot import FOLDER, open_folder_in, rename_new, sync_filesystem
from voldrivers.tree import delete_tree

READY: Final = ".copyup-ready"
STAGING_MODE: Final = 0o700
TRASH: Final = re.compile(r"\.trash-[0-9a-f]{16}")  # a deletion that was cut off


STILL_S: Final = 120.0  # without a step; as long as a driver may take to mount
STOP_S: Final = 10.0  # for one that was cancelled to come to its next step; a guess


class _Stopped(Exception):
    """Nobody waits for the copy any more."""


class _Copy:
    """One copy in a thread, whom it may keep waiting that long and no longer."""

    def __init__(self) -> None:
        self.ended = trio.Event()
        self._steps = 0
        self._is_over = False
        self._outcomes: list[Outcome[bool]] = []

    def step(self) -> None:
        """The thread's, between two pieces of work."""
        if self._is_over:
            raise _Stopped
        self._steps += 1

    async def run(self, work: Callable[[], bool], still_s: float) -> bool:
        """What ``work`` returns or raises (TimeoutError: it does not go on)."""
        token = trio.lowlevel.current_trio_token()

        def deliver(outcome: Outcome[bool]) -> None:
            self._outcomes.append(outcome)
            with suppress(trio.RunFinishedError):  # it outlived the agent's loop
                token.run_sync_soon(self.ended.set)

        trio.lowlevel.start_thread_soon(work, deliver)
        try:
            await self._watch(still_s)
        except trio.Cancelled:
            self._is_over = True
            with trio.move_on_after(STOP_S, shield=True):  # else it writes while others clear up
                await self.ended.wait()
            raise
        self._is_over = True
        if not self._outcomes:
            raise TimeoutError
        return self._outcomes[0].unwrap()

    async def _watch(self, still_s: float) -> None:
        seen = -1
        while seen != self._steps and not self.ended.is_set():
            seen = self._steps
            with trio.move_on_after(still_s):
                await self.ended.wait()


class TreeCopyUp:
    """``voldrivers.contract.CopyUp``."""

    def __init__(self, still_s: float = STILL_S) -> None:
        self._still_s = still_s
        self._limiter = trio.CapacityLimiter(2)  # copies compete for one disk
        self._turns: WeakValueDictionary[Path, trio.Lock] = WeakValueDictionary()
        self._stuck: dict[Path, _Copy] = {}

    async def copy_up(self, rootfs: Path, target: str, volume: Path) -> bool:
        """Copy the image's ``target`` into the empty ``volume``; see the contract.

        Cancel: stops between two files; the next call begins anew.
        """
        turn = self._turns.setdefault(volume, trio.Lock())
        async with turn, self._limiter:
            return await self._copy(rootfs, target, volume)

    async def _copy(self, rootfs: Path, target: str, volume: Path) -> bool:
        stuck = self._stuck.pop(volume, None)
        if stuck and not stuck.ended.is_set():
            self._stuck[volume] = stuck
            raise Unavailable("the volume does not answer; a copy into it hangs", volume=volume)
        copy = _Copy()
        work = partial(_copy_up, rootfs, target, volume, copy.step)
        try:
            return await copy.run(work, self._still_s)
        except TimeoutError:
            raise Unavailable(
                "the volume does not answer: copying image content into it does not go on",
                target=target,
                volume=volume,
                still_s=f"{self._still_s:.0f}",
            ) from None
        finally:
            if not copy.ended.is_set():
                self._stuck[volume] = copy


def _copy_up(rootfs: Path, target: str, volume: Path, step: Callable[[], None]) -> bool:
    with (
        _translated(target, volume),
        _folder(volume) as data,
        _staging_place(volume, data) as outer,
    ):
        if _has(outer, READY):  # the agent was killed while entries moved
            _move_in(outer, data)
            return True
        if _entries(data):
            return False
        source = _open_source(rootfs, target)
        if source < 0:
            return False
        try:
            return _fill(source, outer, data, step)
        finally:
            os.close(source)


@contextmanager
def _staging_place(volume: Path, data: int) -> Iterator[int]:
    """Where entries can be renamed from: our directory around the data, or the data itself."""
    with _folder(volume.parent) as outer:
        is_ours = volume.name == DATA and os.fstat(outer).st_dev == os.fstat(data).st_dev
        yield outer if is_ours else data


def _open_source(rootfs: Path, target: str) -> int:
    try:
        return open_folder_in(rootfs, target)
    except (FileNotFoundError, NotADirectoryError):
        return -1


def _fill(source: int, outer: int, data: int, step: Callable[[], None]) -> bool:
    if not _entries(source):
        return copy_metadata(source, data)
    delete_tree(outer, STAGING)
    os.mkdir(STAGING, STAGING_MODE, dir_fd=outer)
    with _folder(STAGING, outer) as staging:
        copy_contents(source, staging, check=step)
        copy_metadata(source, staging)
        # one call for all files; without it a power cut could leave names without their bytes
        sync_filesystem(staging)
    os.rename(STAGING, READY, src_dir_fd=outer, dst_dir_fd=outer)
    os.fsync(outer)
    step()
    _move_in(outer, data)
    return True


def _move_in(outer: int, data: int) -> None:
    with _folder(READY, outer) as ready:
        status = os.fstat(ready)
        for name in _entries(ready):
            try:
                rename_new(name, ready, data)
            except FileExistsError:
                continue  # not ours to replace; it goes with the rest of READY
        os.utime(ready, ns=(status.st_atime_ns, status.st_mtime_ns))  # the moves changed them
        copy_metadata(ready, data)
        os.fsync(data)
    trash = f".trash-{secrets.token_hex(8)}"  # from here on nothing is moved in again
    os.rename(READY, trash, src_dir_fd=outer, dst_dir_fd=outer)
    delete_tree(outer, trash)


def _entries(fd: int) -> list[str]:
    """All but what is ours."""
    with os.scandir(fd) as entries:
        return [each.name for each in entries if not _is_ours(each.name)]


def _is_ours(name: str) -> bool:
    return name in {STAGING, READY} or bool(TRASH.fullmatch(name))


def _has(fd: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _folder(path: Path | str, parent: int | None = None) -> Iterator[int]:
    fd = os.open(path, FOLDER, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _translated(target: str, volume: Path) -> Iterator[None]:
    try:
        yield
    except TooDeep as exc:
        raise Refused("image content is nested too deeply", target=target, at=str(exc)) from exc
    except OSError as exc:
        kinds = {errno.ENOSPC: Exhausted, errno.EDQUOT: Exhausted, errno.ELOOP: Refused}
        leaf = kinds.get(exc.errno or 0, Unavailable)
        raise leaf(
            f"could not copy image content: {exc.strerror}",
            target=target,
            volume=volume,
            path=exc.filename,
        ) from exc

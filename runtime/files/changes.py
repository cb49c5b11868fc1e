"""What a container changed: its writable layer held against the image's layers. Blocking.

As ``docker diff`` says it: A added, C changed, D deleted. What is a mount point only is left out,
and with it a folder that was copied up for nothing else.
"""

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from runtime.contract.files import Change
from runtime.contract.rootfs import IdRange
from runtime.files.overlay import is_opaque, is_whiteout


def find_changes(
    upper: Path,
    layers: Sequence[Path],
    *,
    left_out: Collection[str] = (),
    ids: IdRange | None = None,
) -> Iterator[Change]:
    """Changes in order of paths.

    Args:
        layers: of the image, base first.
        left_out: absolute paths inside that are mount points.
        ids: of the user namespace whose files the upper ones are; the layers' are as inside.
    """
    if upper.is_dir():
        yield from _Comparison(frozenset(left_out), ids).folder(upper, list(reversed(layers)), "")


class _Comparison:
    """One look at a writable layer."""

    def __init__(self, left_out: frozenset[str], ids: IdRange | None) -> None:
        self._left_out = left_out
        self._ids = ids

    def folder(self, upper: Path, lowers: Sequence[Path], name: str) -> Iterator[Change]:
        """Changes below one folder; ``lowers``: what shows through it, topmost first."""
        inside = {each.name for each in upper.iterdir()}
        hidden = _names(lowers) - inside if is_opaque(str(upper)) else set()
        for inner in sorted(inside | hidden):
            path = f"{name}/{inner}"
            if inner in hidden:
                yield Change(kind="D", path=path)
            elif path not in self._left_out:
                yield from self._entry(upper / inner, lowers, path)

    def _entry(self, upper: Path, lowers: Sequence[Path], path: str) -> Iterator[Change]:
        found = upper.lstat()
        was = _find(lowers, upper.name)
        if is_whiteout(found):
            if was is not None:
                yield Change(kind="D", path=path)
            return
        if not stat.S_ISDIR(found.st_mode):
            yield Change(kind="A" if was is None else "C", path=path)
            return
        below = list(self.folder(upper, _folders(lowers, upper.name), path))
        if was is None or below or not self._only_leads(path) or not self._is_same(found, was):
            yield Change(kind="A" if was is None else "C", path=path)
        yield from below

    def _only_leads(self, path: str) -> bool:
        """Whether the folder is on the way to a mount point."""
        return any(each.startswith(path + "/") for each in self._left_out)

    def _is_same(self, found: os.stat_result, was: os.stat_result) -> bool:
        owners = (found.st_uid, found.st_gid)
        if self._ids is not None:
            owners = (self._ids.inside(found.st_uid), self._ids.inside(found.st_gid))
        return (found.st_mode, *owners) == (was.st_mode, was.st_uid, was.st_gid)


def _find(lowers: Sequence[Path], name: str) -> os.stat_result | None:
    """What lower directories show under the name."""
    for lower in lowers:
        try:
            found = (lower / name).lstat()
        except FileNotFoundError:
            continue
        return None if is_whiteout(found) else found
    return None


def _folders(lowers: Sequence[Path], name: str) -> list[Path]:
    """The folders of that name that are merged, topmost first."""
    merged = []
    for lower in lowers:
        path = lower / name
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(found.st_mode):
            break
        merged.append(path)
        if is_opaque(str(path)):
            break
    return merged


def _names(lowers: Sequence[Path]) -> set[str]:
    """All names that merged folders show."""
    shown: set[str] = set()
    for lower in reversed(lowers):
        for inner in os.scandir(lower):
            if is_whiteout(inner.stat(follow_symlinks=False)):
                shown.discard(inner.name)
            else:
                shown.add(inner.name)
    return shown

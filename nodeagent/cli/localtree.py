"""Unpack what a container sent into a folder of this machine: nothing of it lands elsewhere.

The tar is of a container's making, so no name is resolved as a whole and no link of it followed:
each folder is opened from its parent's descriptor.
"""

import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Final

from nodeagent.cli.call import CommandFailed

FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
COPY_BYTES: Final = 1 << 18


class ChunkReader:
    """Chunks as the file that tarfile reads."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._waiting = b""

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, fewer only at the end."""
        while len(self._waiting) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._waiting += chunk
        piece, self._waiting = self._waiting[:size], self._waiting[size:]
        return piece


def unpack(source: ChunkReader, folder: str, *, name: str, keep_owner: bool) -> None:
    """Unpack a tar with one entry at its top, which becomes ``name`` in the folder.

    Args:
        name: "" puts what is in the top entry, a folder, straight into ``folder``.

    Raises:
        CommandFailed: the tar is broken, or would put a file in place of a folder.
        OSError: this machine's answer.
    """
    root = os.open(folder, FOLDER)
    writer = _Writer(root, keep_owner=keep_owner)
    try:
        with tarfile.open(fileobj=source, mode="r|", encoding="utf-8") as archive:  # type: ignore[call-overload]
            for entry in archive:
                archive.members.clear()
                parts = _renamed(entry.name, name)
                if parts:
                    writer.add(entry, parts, _renamed(entry.linkname, name), archive.extractfile)
        writer.finish()
    except tarfile.TarError as exc:
        raise CommandFailed(f"what the agent sent is no tar: {exc}") from exc
    finally:
        os.close(root)


class _Writer:
    """Makes entries below an open folder."""

    def __init__(self, root: int, *, keep_owner: bool) -> None:
        self._root = root
        self._keep_owner = keep_owner
        self._folders: list[tuple[Sequence[str], tarfile.TarInfo]] = []

    def add(
        self,
        entry: tarfile.TarInfo,
        parts: Sequence[str],
        target: Sequence[str],
        read: Callable[[tarfile.TarInfo], IO[bytes] | None],
    ) -> None:
        """Make one entry; ``target``: of a hard link."""
        *above, name = parts
        with self._opened(above) as folder:
            if entry.isdir():
                _make_folder(name, folder)
                self._folders.append((parts, entry))
                return
            _clear(name, folder)
            if entry.isreg():
                self._file(entry, name, folder, read(entry))
            elif entry.issym():
                os.symlink(entry.linkname, name, dir_fd=folder)
            elif entry.islnk():
                self._link(target, name, folder)
            elif entry.isfifo():
                os.mkfifo(name, entry.mode, dir_fd=folder)
            elif entry.ischr() or entry.isblk():
                raise CommandFailed(f"{entry.name} is a device: copy it as a tar, with '-'")
            if self._keep_owner:
                os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)

    def finish(self) -> None:
        """Set what later entries would have changed again: modes and times of folders."""
        for parts, entry in reversed(self._folders):
            with self._opened(parts) as fd:
                if self._keep_owner:
                    os.fchown(fd, entry.uid, entry.gid)
                os.fchmod(fd, entry.mode)
                os.utime(fd, (entry.mtime, entry.mtime))

    def _file(
        self, entry: tarfile.TarInfo, name: str, folder: int, content: IO[bytes] | None
    ) -> None:
        fd = os.open(name, NEW_FILE, 0o600, dir_fd=folder)
        with os.fdopen(fd, "wb") as file:
            while content and (piece := content.read(COPY_BYTES)):
                file.write(piece)
            file.flush()
            os.fchmod(fd, entry.mode & (0o7777 if self._keep_owner else 0o777))
            os.utime(fd, (entry.mtime, entry.mtime))

    def _link(self, target: Sequence[str], name: str, folder: int) -> None:
        if not target:
            raise CommandFailed("what the agent sent has a hard link to nothing")
        *above, inner = target
        with self._opened(above) as there:
            os.link(inner, name, src_dir_fd=there, dst_dir_fd=folder, follow_symlinks=False)

    @contextmanager
    def _opened(self, parts: Sequence[str]) -> Iterator[int]:
        """A folder below the root; what is missing on the way is made."""
        fd = os.dup(self._root)
        try:
            for part in parts:
                _make_folder(part, fd)
                inner = os.open(part, FOLDER | os.O_NOFOLLOW, dir_fd=fd)
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)


def _make_folder(name: str, folder: int) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=folder)
    except FileExistsError:
        return  # what is no folder is found out when it is opened


def _clear(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        raise CommandFailed(f"{name} is a folder here and a file there: move it away") from None


def _renamed(path: str, name: str) -> list[str]:
    """The components of an entry, with its first one called ``name``."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts or any("\0" in part for part in parts):
        raise CommandFailed(f"what the agent sent leads out: {path!r}")
    is_bare = path.lstrip("/") in {".", "./"} or path.startswith("./")  # of the root itself
    rest = parts if is_bare else parts[1:]
    return [name, *rest] if name else rest

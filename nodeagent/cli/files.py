"""``cp diff export commit``: what is in containers."""

import os
import posixpath
import stat
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

from nodeagent.cli.call import WINDOW_ITEMS, Call, CommandFailed, Row, as_row, pick
from nodeagent.cli.grammar import UsageError, Verb, Words, many, one, switch, text
from nodeagent.cli.output import put

if TYPE_CHECKING:
    from nodeagent.rpc.sync_client import SyncStream

Kind = Literal["folder", "file", "none"]
PIPE: Final = "-"
PIECE_BYTES: Final = 1 << 18


def split_place(place: str) -> tuple[str, str]:
    """(container, path); no container for a path of this machine.

    As Docker: a colon behind a leading ``/`` or ``.`` belongs to the path.
    """
    head, colon, path = place.partition(":")
    if not colon or place.startswith((".", "/")):
        return "", place
    if not head or not path:
        raise UsageError(f"{place!r}: write CONTAINER:PATH")
    return head, path


def choose_target(
    source: str, source_kind: Kind, target: str, target_kind: Kind
) -> tuple[str, str]:
    """(folder, name there) of a copy, as ``docker cp``; no name = the content of the source only.

    Raises:
        UsageError: it cannot be.
    """
    is_content = posixpath.basename(source) == "."
    name = "" if is_content else posixpath.basename(posixpath.normpath(source)).strip("/")
    if target_kind == "folder":
        return target, name
    if target_kind == "none" and target.endswith("/") and source_kind == "file":
        raise UsageError(f"{target}: there is no such folder")
    if target_kind == "file" and source_kind == "folder":
        raise UsageError(f"{target} is a file; a folder cannot be copied onto it")
    above, _, inner = target.rstrip("/").rpartition("/")
    folder = above or ("/" if target.startswith("/") else ".")
    return folder, inner


def _cp(call: Call) -> int:
    source, target = (split_place(word) for word in call.words)
    if bool(source[0]) == bool(target[0]):
        raise UsageError("one of the two must be CONTAINER:PATH, the other a path here or '-'")
    if source[0]:
        _copy_out(call, *source, target[1])
    else:
        _copy_in(call, source[1], *target)
    return 0


def _find(call: Call, name: str, path: str) -> Row | None:
    """What a path leads to; None if nothing is there."""
    from nodeagent.rpc.errors import RpcError

    try:
        return call.row("container.stat", name=name, path=path, follow=True)
    except RpcError as exc:
        if exc.kind == "missing" and "path" in exc.fields:
            return None
        raise


def _kind(found: Row | None) -> Kind:
    if found is None:
        return "none"
    return "folder" if stat.S_ISDIR(pick(found, "mode", int)) else "file"


# --- out of a container ---------------------------------------------------------------------------


def _copy_out(call: Call, name: str, path: str, target: str) -> None:
    follow = call.values.is_on("follow-link")
    found = call.row("container.stat", name=name, path=path, follow=follow)
    with call.open_stream(
        "container.pack", name=name, path=path, follow=follow, window=WINDOW_ITEMS
    ) as stream:
        if target == PIPE:
            write_all(receive(stream), sys.stdout.buffer)
        else:
            _unpack(call, stream, path, found, target)


def _unpack(call: Call, stream: "SyncStream", path: str, found: Row, target: str) -> None:
    from nodeagent.cli.localtree import ChunkReader, unpack

    local = Path(target)
    is_there = local.exists() or local.is_symlink()
    kind: Kind = "none" if not is_there else "folder" if local.is_dir() else "file"
    folder, inner = choose_target(path, _kind(found), target, kind)
    unpack(
        ChunkReader(receive(stream)),
        folder,
        name=inner,
        keep_owner=call.values.is_on("archive"),
    )


def receive(stream: "SyncStream") -> Iterator[bytes]:
    """The bytes of a call, to its end."""
    for item in stream:
        yield pick(as_row(item), "data", bytes)
    stream.result()  # a failure is told by the agent's words, not by the hole in the tar


def write_all(chunks: Iterator[bytes], file: BinaryIO) -> None:
    """Write bytes out, but not onto a terminal."""
    if os.isatty(file.fileno()):
        raise UsageError("standard output is a terminal; write the tar to a file or a pipe")
    file.writelines(chunks)
    file.flush()


# --- into a container -----------------------------------------------------------------------------


def _copy_in(call: Call, source: str, name: str, path: str) -> None:
    keep_owner = call.values.is_on("archive")
    if source == PIPE:
        with call.open_stream(
            "container.unpack", name=name, path=path, keep_owner=keep_owner
        ) as stream:
            stream.interact(lambda _item: None, stdin_fd=0)
        return
    local = Path(source)
    if call.values.is_on("follow-link"):
        local = local.resolve()
    if not (local.exists() or local.is_symlink()):
        raise CommandFailed(f"{source}: no such file or directory")
    found = _find(call, name, path)
    where = str(found["path"]) if found else path
    is_folder = local.is_dir() and not local.is_symlink()
    folder, inner = choose_target(source, "folder" if is_folder else "file", where, _kind(found))
    with call.open_stream(
        "container.unpack", name=name, path=folder, keep_owner=keep_owner
    ) as stream:
        _send_tar(stream, local, inner or ".")
        stream.result()


class _Sender:
    """Sends what tarfile writes as the input of a call, in large pieces."""

    def __init__(self, stream: "SyncStream") -> None:
        self._stream = stream
        self._waiting = bytearray()

    def write(self, data: bytes) -> int:
        """Take some bytes."""
        self._waiting += data
        if len(self._waiting) >= PIECE_BYTES:
            self.flush()
        return len(data)

    def flush(self) -> None:
        """Send what waits."""
        self._stream.send_input(bytes(self._waiting))
        self._waiting.clear()


def _send_tar(stream: "SyncStream", local: Path, name: str) -> None:
    sender = _Sender(stream)
    with tarfile.open(fileobj=sender, mode="w|", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        archive.add(local, arcname=name)
    sender.flush()
    stream.send_input(None)


# --- diff, export, commit -------------------------------------------------------------------------


def _diff(call: Call) -> int:
    with call.open_stream("container.diff", name=call.words[0], window=WINDOW_ITEMS) as stream:
        for item in stream:
            for row in pick(as_row(item), "changes", list):
                put(f"{row['kind']} {row['path']}\n")
        stream.result()
    return 0


def _export(call: Call) -> int:
    output = call.values.text("output")
    with call.open_stream("container.export", name=call.words[0], window=WINDOW_ITEMS) as stream:
        if output:
            save_to(output, receive(stream))
        else:
            write_all(receive(stream), sys.stdout.buffer)
    return 0


def save_to(output: str, chunks: Iterator[bytes], mode: int = 0o666) -> None:
    """Write a file that has its name only once it is whole. ``mode``: less the umask."""
    draft = Path(f"{output}.part")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "wb") as file:
            file.writelines(chunks)
        draft.rename(output)
    finally:
        draft.unlink(missing_ok=True)


def _commit(call: Call) -> int:
    from nodeagent.cli.changes import parse_changes

    values = call.values
    view = call.row(
        "container.commit",
        name=call.words[0],
        ref=call.words[1] if len(call.words) > 1 else "",
        author=values.text("author"),
        message=values.text("message"),
        pause=values.is_on("pause"),
        **parse_changes(values.list("change")),
    )
    put(f"{view['Id']}\n")
    return 0


VERBS: Final = (
    Verb(
        name="cp",
        help="Copy files between a container and this machine",
        run=_cp,
        flags=(
            switch("archive", "Keep user and group of each file", "a"),
            switch("follow-link", "Copy what the source links to, not the link", "L"),
            switch("quiet", "Accepted for Docker's sake: there is no progress", "q"),
        ),
        words=Words(usage="CONTAINER:SRC DEST|- , or SRC|- CONTAINER:DEST", least=2, most=2),
        notes=(
            "A folder is copied with all in it; SRC/. is only what is in it.",
            "'-' is a tar on standard input or output.",
            "Without -a everything copied into a container belongs to its root.",
        ),
        examples=(
            "nodeagent cp web:/etc/nginx ./nginx",
            "nodeagent cp index.html web:/usr/share/nginx/html/",
            "nodeagent cp web:/var/log - | tar tv",
        ),
    ),
    Verb(
        name="diff",
        help="Show what a container changed: A added, C changed, D deleted",
        run=_diff,
        words=one("CONTAINER", "container"),
        examples=("nodeagent diff web",),
    ),
    Verb(
        name="export",
        help="Write the root filesystem of a container as a tar",
        run=_export,
        flags=(text("output", "File to write instead of standard output", "o", completes="file"),),
        words=one("CONTAINER", "container"),
        notes=("Volumes are not in it: they are mounted, not part of the root filesystem.",),
        examples=("nodeagent export -o web.tar web", "nodeagent export web | tar tv"),
    ),
    Verb(
        name="commit",
        help="Make an image of what a container is now",
        run=_commit,
        flags=(
            text("author", "Who made it", "a"),
            text("message", "Comment in the image's history", "m"),
            many("change", "Instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, …", "c"),
            switch("pause", "Freeze the container meanwhile", "p", default=True),
        ),
        words=Words(usage="CONTAINER [NAME[:TAG]]", least=1, most=2, completes="container"),
        examples=("nodeagent commit -c 'CMD [\"httpd\"]' web mine:v2",),
    ),
)

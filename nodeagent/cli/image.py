"""Images: pull, list, load, remove and the like."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from nodeagent.cli.call import WINDOW_ITEMS, Call, CommandFailed, Row, go_on, parse_filters, pick
from nodeagent.cli.grammar import UsageError, Verb, Words, many, one, several, switch, text
from nodeagent.cli.objects import inspect_verb
from nodeagent.cli.output import (
    LIST_FLAGS,
    LIST_FORMAT,
    print_list,
    put,
    short_id,
    shorten,
)
from nodeagent.cli.progress import Progress
from nodeagent.cli.prune import FORCE, prune

COLUMNS: Final = (
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("IMAGE ID", "ID"),
    ("CREATED", "CreatedSince"),
    ("SIZE", "Size"),
)
_HISTORY_COLUMNS: Final = (
    ("IMAGE", "ID"),
    ("CREATED", "CreatedSince"),
    ("CREATED BY", "CreatedBy"),
    ("SIZE", "Size"),
    ("COMMENT", "Comment"),
)
_INSTRUCTION_WIDTH: Final = 45  # as Docker's


def _ls(call: Call) -> int:
    filters = parse_filters(call.values.list("filter"))
    if call.words:
        filters.setdefault("reference", []).append(call.words[0])
    rows = call.rows("image.ls", all=call.values.is_on("all"), filters=filters)
    columns = COLUMNS
    if call.values.is_on("digests"):
        columns = (*COLUMNS[:2], ("DIGEST", "Digest"), *COLUMNS[2:])  # type: ignore[assignment]
    if not call.values.is_on("no-trunc"):
        rows = [row | {"ID": short_id(str(row["ID"]))} for row in rows]
    return print_list(call, rows, columns, name="ID")


def _pull(call: Call) -> int:
    from nodeagent.cli.registry import login_params

    ref = call.words[0]
    login = login_params(call, ref)
    if not call.values.is_on("all-tags"):
        _pull_one(call, ref, login)
        return 0
    if ":" in ref.rpartition("/")[2] or "@" in ref:
        raise UsageError("--all-tags: give the name without a tag or digest")
    tags = call.client.call_as(list[str], "image.tags", {"ref": ref, **login})
    return go_on(tags, lambda tag: _pull_one(call, f"{ref}:{tag}", login))


def _pull_one(call: Call, ref: str, login: Row) -> None:
    is_quiet, platform = call.values.is_on("quiet"), call.values.text("platform")
    progress = Progress(None if is_quiet else sys.stdout)
    asked = {"ref": ref, "platform": platform, "window": WINDOW_ITEMS, **login}
    with call.open_stream("image.pull", **asked) as stream:
        progress.show(stream)
        view = stream.result_as(dict[str, object])
    put(f"{ref}\n" if is_quiet else pull_summary(ref, view, has_fetched=progress.has_fetched))


def pull_summary(ref: str, view: Row, *, has_fetched: bool) -> str:
    """The last lines of a pull."""
    news = "Downloaded newer image for" if has_fetched else "Image is up to date for"
    digest = view.get("IndexDigest") or view.get("ManifestDigest")
    return f"Digest: {digest}\nStatus: {news} {ref}\n{ref}\n"


def _rm(call: Call) -> int:
    def remove(name: str) -> None:
        gone = call.row("image.rm", name=name, force=call.values.is_on("force"))
        put(removal_lines(gone))

    return go_on(call.words, remove)


def removal_lines(gone: Row) -> str:
    """Say what went, as ``docker rmi``."""
    untagged, deleted = pick(gone, "Untagged", list), pick(gone, "Deleted", list)
    lines = [f"Untagged: {name}" for name in untagged] + [f"Deleted: {name}" for name in deleted]
    return "".join(line + "\n" for line in lines)


def _history(call: Call) -> int:
    rows = call.rows("image.history", name=call.words[0])
    if not call.values.is_on("no-trunc"):
        rows = [
            row
            | {
                "ID": short_id(str(row["ID"])),
                "CreatedBy": shorten(str(row["CreatedBy"]), _INSTRUCTION_WIDTH),
            }
            for row in rows
        ]
    return print_list(call, rows, _HISTORY_COLUMNS, name="ID")


def _tag(call: Call) -> int:
    call.rpc("image.tag", source=call.words[0], target=call.words[1])
    return 0


def _load(call: Call) -> int:
    progress = Progress(None if call.values.is_on("quiet") else sys.stderr)
    with (
        open_input(call.values.text("input") or "-") as fd,
        call.open_stream("image.load", window=WINDOW_ITEMS) as stream,
    ):
        result = stream.interact(progress.take, stdin_fd=fd)
    for name in pick(result, "images", list):
        kind = "image ID" if name.startswith("sha256:") else "image"
        put(f"Loaded {kind}: {name}\n")
    return 0


def _import(call: Call) -> int:
    from nodeagent.cli.changes import parse_changes

    params = parse_changes(call.values.list("change"))
    params |= {"ref": call.words[1] if len(call.words) > 1 else ""}
    params |= {"message": call.values.text("message")}
    with (
        open_input(call.words[0]) as fd,
        call.client.stream("image.import", {**params, "window": WINDOW_ITEMS}) as stream,
    ):
        result = stream.interact(lambda _item: None, stdin_fd=fd)
    put(f"{pick(result, 'Id', str)}\n")
    return 0


@contextmanager
def open_input(path: str) -> Iterator[int]:
    """Give a descriptor of the file, or of standard input for ``-``."""
    if path == "-":
        if os.isatty(0):
            raise UsageError("standard input is a terminal; name a file or pipe an archive in")
        yield 0
        return
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as exc:
        raise CommandFailed(f"cannot read {path}: {exc.strerror}") from exc
    try:
        yield fd
    finally:
        os.close(fd)


def _prune(call: Call) -> int:
    every = call.values.is_on("all")
    what = "images that no container uses" if every else "images without a name"
    return prune(call, "image.prune", what, "Deleted Images:", all=every)


VERBS: Final = (
    Verb(
        name="ls",
        help="List images",
        run=_ls,
        flags=(
            switch("all", "Accepted for Docker's sake; all are shown", "a"),
            *LIST_FLAGS,
            switch("digests", "Show digests"),
        ),
        words=Words(usage="[REPOSITORY[:TAG]]", most=1, completes="image"),
        aliases=("list",),
        examples=("nodeagent images", "nodeagent image ls --format json"),
    ),
    Verb(
        name="pull",
        help="Fetch an image from its registry",
        run=_pull,
        flags=(
            text("platform", "Platform of the image, e.g. linux/arm64"),
            switch("all-tags", "All tags of that name", "a"),
            switch("quiet", "No progress", "q"),
        ),
        words=one("NAME[:TAG|@DIGEST]", "image"),
        examples=("nodeagent pull busybox", "nodeagent pull localhost:5000/app:v2"),
    ),
    Verb(
        name="rm",
        help="Remove names of images, and images with their last name",
        run=_rm,
        flags=(switch("force", "Also if a stopped container uses it", "f"),),
        words=several("IMAGE", "image"),
        aliases=("remove",),
        examples=("nodeagent rmi busybox", "nodeagent rmi $(nodeagent images -q)"),
    ),
    inspect_verb("image", "IMAGE"),
    Verb(
        name="history",
        help="Show the instructions an image was built by",
        run=_history,
        flags=(LIST_FORMAT, *LIST_FLAGS[2:]),
        words=one("IMAGE", "image"),
        examples=("nodeagent history busybox",),
    ),
    Verb(
        name="tag",
        help="Give an image a further name",
        run=_tag,
        words=Words(usage="IMAGE NAME[:TAG]", least=2, most=2, completes="image"),
        examples=("nodeagent tag busybox localhost:5000/busybox:v1",),
    ),
    Verb(
        name="load",
        help="Take images from an archive (docker save, or OCI)",
        run=_load,
        flags=(
            text("input", "Archive; standard input if not given", "i", completes="file"),
            switch("quiet", "No progress", "q"),
        ),
        examples=("nodeagent load -i images.tar", "nodeagent load < images.tar"),
    ),
    Verb(
        name="import",
        help="Make an image of the tar of a root file system",
        run=_import,
        flags=(
            many("change", "Instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, …", "c"),
            text("message", "Comment in the image's history", "m"),
        ),
        words=Words(usage="FILE|- [NAME[:TAG]]", least=1, most=2, completes="file"),
        examples=("nodeagent import --change 'CMD [\"sh\"]' root.tar mine:v1",),
    ),
    Verb(
        name="prune",
        help="Remove images without a name, or all that nobody uses",
        run=_prune,
        flags=(switch("all", "All that no container uses", "a"), FORCE),
        examples=("nodeagent image prune -a",),
    ),
)

"""``volume snapshot clone restore rename update export import``."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nodeagent.cli.call import WINDOW_ITEMS, Call, CommandFailed, parse_pairs, pick
from nodeagent.cli.files import receive, save_to, write_all
from nodeagent.cli.grammar import Flag, Verb, Words, many, number, one, switch, text
from nodeagent.cli.image import open_input
from nodeagent.cli.output import human_bytes, put
from nodeagent.cli.quantities import parse_seconds

SHARING: Final = ("none", "readonly", "onewriter", "all")
ZSTD: Final = (".zst", ".zstd")
DIGEST: Final = ".sha256"


def _snapshot(call: Call) -> int:
    made = call.row(
        "volume.snapshot",
        name=call.words[0],
        label=call.words[1] if len(call.words) > 1 else "",
        quiesce=call.values.text("quiesce"),
        resume=call.values.text("resume"),
    )
    put(f"{made['Name']}\n")
    return 0


def _clone(call: Call) -> int:
    made = call.row("volume.clone", name=call.words[0], target=call.words[1])
    put(f"{made['Name']}\n")
    return 0


def _restore(call: Call) -> int:
    made = call.row("volume.restore", name=call.words[0])
    put(f"{made['Name']}\n")
    return 0


def _rename(call: Call) -> int:
    call.rpc("volume.rename", name=call.words[0], new=call.words[1])
    return 0


def _update(call: Call) -> int:
    values = call.values
    schedule = None
    if every := values.text("snapshot-every"):
        keep = values.number("snapshot-keep")
        schedule = {"EveryS": parse_seconds("snapshot-every", every), "Keep": keep}
    call.rpc(
        "volume.update",
        name=call.words[0],
        labels=parse_pairs(values.list("label-add"), "label-add"),
        labels_gone=values.list("label-rm"),
        sharing=values.text("sharing") or None,
        size=values.text("size"),
        schedule=schedule,
        no_schedule=values.is_on("no-snapshots"),
    )
    put(f"{call.words[0]}\n")
    return 0


def _backup(call: Call) -> int:
    name, target = call.words
    made = call.row("volume.backup", name=name, target=target, keep=call.values.number("keep"))
    size, shared = human_bytes(pick(made, "Bytes", int)), made["SharedFiles"]
    put(f"{made['Path']}: {made['Files']} files, {size}; {shared} files as in the last one\n")
    return 0


# --- archives -------------------------------------------------------------------------------------


def _export(call: Call) -> int:
    output = call.values.text("output")
    compress = "zstd" if output.endswith(ZSTD) or call.values.is_on("zstd") else "none"
    digest = hashlib.sha256()

    def hashed(chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            digest.update(chunk)
            yield chunk

    with call.open_stream(
        "volume.export", name=call.words[0], compress=compress, window=WINDOW_ITEMS
    ) as stream:
        if not output:
            write_all(receive(stream), sys.stdout.buffer)
            return 0
        save_to(output, hashed(receive(stream)))
        sent = pick(stream.result(), "Sha256", str)
    if sent != digest.hexdigest():
        Path(output).unlink()
        raise CommandFailed(f"{output}: what arrived is not what was sent")
    # as sha256sum writes it, so that sha256sum -c reads it
    Path(output + DIGEST).write_text(f"{sent}  {Path(output).name}\n", encoding="utf-8")
    return 0


def _import(call: Call) -> int:
    name, source = call.words
    with (
        open_input(source) as fd,
        call.open_stream(
            "volume.import",
            name=name,
            driver=call.values.text("driver"),
            options=parse_pairs(call.values.list("opt"), "opt"),
            labels=parse_pairs(call.values.list("label"), "label"),
            sha256=call.values.text("sha256") or _read_digest(source),
        ) as stream,
    ):
        stream.interact(lambda _item: None, stdin_fd=fd)
    put(f"{name}\n")
    return 0


def _read_digest(source: str) -> str:
    """The digest that export wrote beside the archive; "" if there is none."""
    try:
        words = Path(source + DIGEST).read_text(encoding="utf-8").split()
    except OSError:
        return ""
    if not words:
        raise CommandFailed(f"{source}{DIGEST}: no digest in it")
    return words[0]


VERBS: Final = (
    Verb(
        name="snapshot",
        help="Keep what a volume is now, as VOLUME@LABEL",
        run=_snapshot,
        flags=(
            text("quiesce", "Command for sh in each running container that writes, before"),
            text("resume", "The same, afterwards, whatever happened"),
        ),
        words=Words(usage="VOLUME [LABEL]", least=1, most=2, completes="volume"),
        notes=(
            "Blocks are shared where the file system can (btrfs, xfs); else the bytes are copied.",
            "An image volume stands still meanwhile, so its snapshot is of one moment.",
            "nodeagent volume ls --all lists snapshots; volume rm deletes them.",
        ),
        examples=(
            "nodeagent volume snapshot data before-upgrade",
            "nodeagent volume snapshot --quiesce 'redis-cli save' data",
        ),
    ),
    Verb(
        name="clone",
        help="Make a new volume of the bytes of a volume or snapshot",
        run=_clone,
        words=Words(usage="VOLUME[@LABEL] NEW", least=2, most=2, completes="volume"),
        examples=("nodeagent volume clone data@before-upgrade trial",),
    ),
    Verb(
        name="restore",
        help="Go back to a snapshot, or bring a removed volume back",
        run=_restore,
        words=one("VOLUME@LABEL", "volume"),
        notes=("What the volume was before is kept for a while, as a removed one.",),
        examples=(
            "nodeagent volume restore data@before-upgrade",
            "nodeagent volume restore data",
            "nodeagent volume restore data@removed-20261126T120000Z",
        ),
    ),
    Verb(
        name="rename",
        help="Give a volume that no container refers to another name",
        run=_rename,
        words=Words(usage="VOLUME NEW", least=2, most=2, completes="volume"),
        notes=("Its snapshots follow: VOLUME@LABEL becomes NEW@LABEL.",),
        examples=("nodeagent volume rename data old-data",),
    ),
    Verb(
        name="update",
        help="Change labels, sharing, size or the schedule of snapshots",
        run=_update,
        flags=(
            many("label-add", "Set metadata KEY=VALUE"),
            many("label-rm", "Take the label of this key away"),
            Flag(name="sharing", help="Who may use it at once", choices=("", *SHARING)),
            text("size", "Grow an image volume to this size, also in use"),
            text("snapshot-every", "Make a snapshot that often, as 1h"),
            number("snapshot-keep", "How many of them stay", default=24),
            switch("no-snapshots", "No more snapshots by the clock"),
        ),
        words=one("VOLUME", "volume"),
        examples=(
            "nodeagent volume update --size 20g db",
            "nodeagent volume update --snapshot-every 1h --snapshot-keep 48 db",
        ),
    ),
    Verb(
        name="backup",
        help="Add a tree of what a volume is now to its backups in a directory or volume",
        run=_backup,
        flags=(number("keep", "How many backups of the volume stay there (default: all)"),),
        words=Words(usage="VOLUME DIRECTORY|VOLUME", least=2, most=2, completes="volume"),
        notes=(
            "TARGET/VOLUME/TIME is whole by itself; files that did not change are links to the",
            "last backup. Back with: tar -C TARGET/VOLUME/TIME -c . | nodeagent volume import V -",
        ),
        examples=("nodeagent volume backup --keep 7 data /mnt/backups",),
    ),
    Verb(
        name="export",
        help="Write all in a volume or snapshot as a tar",
        run=_export,
        flags=(
            text("output", "Write to a file, and its SHA-256 to FILE.sha256", "o"),
            switch("zstd", "Compress; so is a file that ends in .zst"),
        ),
        words=one("VOLUME[@LABEL]", "volume"),
        examples=(
            "nodeagent volume export -o data.tar.zst data@nightly",
            "sha256sum -c data.tar.zst.sha256",
        ),
    ),
    Verb(
        name="import",
        help="Make a volume of a tar, or replace the content of one that is not mounted",
        run=_import,
        flags=(
            text("driver", "Driver of a new volume (default local)", "d"),
            many("label", "Set metadata KEY=VALUE"),
            many("opt", "Option of the driver: KEY=VALUE", "o"),
            text(
                "sha256", "Digest of the archive (default: what FILE.sha256 says, if it is there)"
            ),
        ),
        words=Words(usage="VOLUME FILE|-", least=2, most=2, completes="volume"),
        notes=(
            "The archive is unpacked and checked first; then it replaces what was there at once.",
            "What was there is kept for a while, as a removed volume.",
        ),
        examples=("nodeagent volume import data data.tar.zst",),
    ),
)

"""``logs stats top port``: looking at containers."""

import sys
from typing import TYPE_CHECKING, BinaryIO, Final
from urllib.parse import quote

from nodeagent.cli.call import WINDOW_ITEMS, Call, Row, as_row, pick
from nodeagent.cli.grammar import UsageError, Verb, one, parse_whole, several, switch, text
from nodeagent.cli.output import (
    LIST_FORMAT,
    human_bytes,
    put,
    render_list,
    render_table,
    short_id,
)
from nodeagent.cli.timestamps import format_ns

if TYPE_CHECKING:
    from nodeagent.rpc.sync_client import SyncStream

_CLEAR: Final = "\x1b[H\x1b[J"


def _logs(call: Call) -> int:
    values = call.values
    with call.open_stream(
        "container.logs",
        name=call.words[0],
        follow=values.is_on("follow"),
        since=values.text("since"),
        until=values.text("until"),
        tail=parse_tail(values.text("tail")),
        details=values.is_on("details"),
        window=WINDOW_ITEMS,
    ) as stream:
        writer = LogWriter(
            {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer},
            has_times=values.is_on("timestamps"),
        )
        for item in stream:
            writer.write(as_row(item))
        stream.result()
    return 0


def parse_tail(words: str) -> int:
    """Read ``all`` or a number; what Docker takes for all is all here."""
    if words == "all":
        return -1
    if not words.isdecimal():
        raise UsageError(f"--tail: {words!r} is neither a number nor 'all'")
    return parse_whole(f"--tail: {words!r}", words)


class LogWriter:
    """Writes log items where they belong, with the time before each line if wanted."""

    def __init__(self, outs: dict[str, BinaryIO], *, has_times: bool) -> None:
        self._outs = outs
        self._has_times = has_times
        self._open_lines: set[str] = set()

    def write(self, item: Row) -> None:
        """Write one item."""
        if lost := item.get("lost", 0):
            sys.stderr.write(f"nodeagent: fell behind: {lost} log files were dropped unread\n")
            return
        name, data = pick(item, "stream", str), pick(item, "data", bytes)
        head = self._head(item)
        self._outs[name].write(self._stamp(name, data, head) if head else data)
        self._outs[name].flush()

    def _head(self, item: Row) -> bytes:
        """What stands before each line: the time, then the details."""
        attributes = pick(item, "attributes", dict) if "attributes" in item else {}
        head = format_ns(pick(item, "time_ns", int)) + " " if self._has_times else ""
        pairs = (f"{quote(str(k))}={quote(str(v))}" for k, v in sorted(attributes.items()))
        return (head + ",".join(pairs) + (" " if attributes else "")).encode()

    def _stamp(self, name: str, data: bytes, stamp: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        begun = name in self._open_lines
        if lines and not lines[-1].endswith(b"\n"):
            self._open_lines.add(name)
        elif lines:
            self._open_lines.discard(name)
        return b"".join(
            line if begun and at == 0 else stamp + line for at, line in enumerate(lines)
        )


STATS_COLUMNS: Final = (
    ("CONTAINER ID", "ID"),
    ("NAME", "Name"),
    ("CPU %", "CPUPerc"),
    ("MEM USAGE / LIMIT", "MemUsage"),
    ("MEM %", "MemPerc"),
    ("NET I/O", "NetIO"),
    ("BLOCK I/O", "BlockIO"),
    ("PIDS", "PIDs"),
)


def shape_stats(item: Row) -> Row:
    """Write a reading as ``docker stats`` does; -1 is not known."""
    return item | {
        "ID": short_id(str(item["ID"])),
        "CPUPerc": _percent(item["CpuPercent"]),
        "MemUsage": _pair(item["MemoryBytes"], item["MemoryLimitBytes"], binary=True),
        "MemPerc": _percent(item["MemoryPercent"]),
        "NetIO": _pair(item["NetworkRxBytes"], item["NetworkTxBytes"]),
        "BlockIO": _pair(item["BlockReadBytes"], item["BlockWriteBytes"]),
        "PIDs": _known(item["Pids"]),
    }


def _percent(value: object) -> str:
    return f"{value:.2f}%" if isinstance(value, float | int) and value >= 0 else "--"


def _pair(one_: object, other: object, *, binary: bool = False) -> str:
    return f"{_bytes(one_, binary=binary)} / {_bytes(other, binary=binary)}"


def _bytes(value: object, *, binary: bool) -> str:
    is_known = isinstance(value, int) and value >= 0
    return human_bytes(int(str(value)), binary=binary) if is_known else "--"


def _known(value: object) -> str:
    return str(value) if value != -1 else "--"


def _stats(call: Call) -> int:
    once = call.values.is_on("no-stream")
    with call.open_stream(
        "container.stats", names=call.words, stream=not once, window=WINDOW_ITEMS
    ) as stream:
        screen = _CLEAR if sys.stdout.isatty() and not once else ""
        _show_rounds(stream, screen, call.values.text("format"))
        stream.result()
    return 0


def _show_rounds(stream: "SyncStream", screen: str, format_: str) -> None:
    """Print a table each time a container comes round again, and at the end."""
    rows: dict[object, Row] = {}
    for item in map(as_row, stream):
        if item["ID"] in rows:
            put(screen + render_list(list(rows.values()), STATS_COLUMNS, format_))
            rows = {}
        rows[item["ID"]] = shape_stats(item)
    put(screen + render_list(list(rows.values()), STATS_COLUMNS, format_))


def _top(call: Call) -> int:
    found = call.row("container.top", name=call.words[0])
    if call.values.text("format") == "json":
        put(render_list([found], (), "json"))
        return 0
    put(render_table(pick(found, "titles", list), pick(found, "processes", list)))
    return 0


VERBS: Final = (
    Verb(
        name="logs",
        help="Show what a container has written",
        run=_logs,
        flags=(
            switch("follow", "Go on with what comes", "f"),
            text("since", "Only after this time (RFC 3339, or 10m for ten minutes ago)"),
            text("until", "Only before this time"),
            text("tail", "Number of last lines, or all", "n", "all"),
            switch("details", "Show the labels and variables that --log-opt wants with each line"),
            switch("timestamps", "Show the time of each line", "t"),
        ),
        words=one("CONTAINER", "container"),
        examples=("nodeagent logs -f --tail 10 web", "nodeagent logs --since 10m -t web"),
    ),
    Verb(
        name="stats",
        help="Show what containers use, again and again",
        run=_stats,
        flags=(
            LIST_FORMAT,
            switch("no-stream", "Only once"),
            switch("all", "Accepted for Docker's sake; stopped containers use nothing", "a"),
        ),
        words=several("CONTAINER", "container", least=0),
        examples=("nodeagent stats", "nodeagent stats --no-stream --format json web"),
    ),
    Verb(
        name="top",
        help="Show the processes of a container",
        run=_top,
        flags=(LIST_FORMAT,),
        words=one("CONTAINER", "container"),
        examples=("nodeagent top web",),
    ),
)

"""The agent itself: what it is, what it holds, what happens in it."""

from collections.abc import Callable
from typing import Final

from nodeagent.cli.call import WINDOW_ITEMS, Call, Row, as_row, parse_filters, pick
from nodeagent.cli.grammar import Verb, many, switch, text
from nodeagent.cli.output import (
    FORMAT,
    LIST_FORMAT,
    human_bytes,
    json_line,
    print_object,
    put,
    render_list,
)
from nodeagent.cli.prune import FORCE, confirm, prune_kind
from nodeagent.cli.template import compile_template, show
from nodeagent.cli.timestamps import format_ns

_DF_COLUMNS: Final = (
    ("TYPE", "Type"),
    ("TOTAL", "TotalCount"),
    ("ACTIVE", "Active"),
    ("SIZE", "Size"),
    ("RECLAIMABLE", "Reclaimable"),
)
_BYTES: Final = ("MemTotal",)


def _info(call: Call) -> int:
    info = call.row("system.info")
    return print_object(info, call.values.text("format"), lambda: info_lines(info))


def info_lines(info: Row) -> str:
    """One line a field; warnings at the end."""
    lines = [f"{_title(name)}: {_info_value(name, value)}" for name, value in info.items()
             if name != "Warnings"]  # fmt: skip
    warnings = pick(info, "Warnings", list)
    return "\n".join([*lines, *(f"WARNING: {warning}" for warning in warnings)]) + "\n"


def _title(name: str) -> str:
    """``ServerVersion`` -> ``Server Version``; runs of capitals stay together."""
    import re

    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


def _info_value(name: str, value: object) -> str:
    return (
        human_bytes(value, binary=True)
        if name in _BYTES and isinstance(value, int)
        else show(value)
    )


def _version(call: Call) -> int:
    client = {"Version": client_version()}
    if call.values.is_on("client"):
        put(f"nodeagent {client['Version']}\n")
        return 0
    server = call.row("system.version")
    both: Row = {"Client": client, "Server": server}
    people = "Client:\n" + info_lines_of(client) + "Server:\n" + info_lines_of(server)
    return print_object(both, call.values.text("format"), lambda: people)


def info_lines_of(part: Row | dict[str, str]) -> str:
    """One indented line a field."""
    return "".join(f" {_title(name)}: {show(value)}\n" for name, value in part.items())


def client_version() -> str:
    """The version of the installed package."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("nodeagent")
    except PackageNotFoundError:
        return "unknown (not installed)"


def _df(call: Call) -> int:
    rows = call.rows("system.df")
    format_ = call.values.text("format")
    put(
        render_list(
            rows if format_ == "json" else [shape_df(row) for row in rows], _DF_COLUMNS, format_
        )
    )
    return 0


def shape_df(row: Row) -> Row:
    """Sizes for people, with the share that could be freed."""
    size, free = pick(row, "Size", int), pick(row, "Reclaimable", int)
    share = f" ({100 * free // size}%)" if size > 0 else ""
    return row | {"Size": human_bytes(size), "Reclaimable": human_bytes(free) + share}


def _events(call: Call) -> int:
    values = call.values
    render = _line_renderer(values.text("format"), event_line)
    with call.open_stream(
        "system.events",
        since=values.text("since"),
        until=values.text("until"),
        filters=parse_filters(values.list("filter")),
        window=WINDOW_ITEMS,
    ) as stream:
        for item in stream:
            put(render(as_row(item)))
        stream.result()
    return 0


def _line_renderer(format_: str, line: Callable[[Row], str]) -> Callable[[Row], str]:
    if format_ in {"", "table"}:
        return line
    render = json_line if format_ == "json" else compile_template(format_)
    return lambda event: render(event) + "\n"


def event_line(event: Row) -> str:
    """One event as ``docker events`` prints it."""
    time_ns, attributes = pick(event, "time_ns", int), pick(event, "attributes", dict)
    pairs = {**attributes} | ({"name": event["name"]} if event["name"] else {})
    details = ", ".join(f"{key}={pairs[key]}" for key in sorted(pairs))
    head = f"{format_ns(time_ns)} {event['type']} {event['action']} {event['id']}"
    return f"{head} ({details})\n" if details else f"{head}\n"


def _audit(call: Call) -> int:
    values = call.values
    render = _line_renderer(values.text("format"), audit_line)
    with call.open_stream(
        "system.audit",
        since=values.text("since"),
        who=values.text("who"),
        method=values.text("method"),
        window=WINDOW_ITEMS,
    ) as stream:
        for item in stream:
            put(render(as_row(item)))
        stream.result()
    return 0


def audit_line(entry: Row) -> str:
    """One change: when, who in which role, what, and what came of it."""
    of = f"{entry['who']} ({entry['role']}{' at ' if entry['address'] else ''}{entry['address']})"
    what = " ".join(str(entry[each]) for each in ("method", "target") if entry[each])
    return f"{entry['time']} {of} {what}: {entry['outcome']}\n"


def _ping(call: Call) -> int:
    call.rpc("system.ping")
    put("OK\n")
    return 0


def _prune(call: Call) -> int:
    every, volumes = call.values.is_on("all"), call.values.is_on("volumes")
    images = "images that no container uses" if every else "images without a name"
    what = f"stopped containers, unused networks, {images}"
    if not confirm(call, what + (", and unused anonymous volumes" if volumes else "")):
        return 0
    freed = prune_kind(call, "container.prune", "Deleted Containers:")
    freed += prune_kind(call, "network.prune", "Deleted Networks:")
    if volumes:
        freed += prune_kind(call, "volume.prune", "Deleted Volumes:", all=False)
    freed += prune_kind(call, "image.prune", "Deleted Images:", all=every)
    put(f"Total reclaimed space: {human_bytes(freed)}\n")
    return 0


VERBS: Final = (
    Verb(
        name="info",
        help="Show what the agent is and holds",
        run=_info,
        flags=(FORMAT,),
        examples=("nodeagent info", "nodeagent system info --format json"),
    ),
    Verb(
        name="df",
        help="Show what takes room on disk",
        run=_df,
        flags=(LIST_FORMAT,),
        examples=("nodeagent system df",),
    ),
    Verb(
        name="events",
        help="Show what happens, as it happens",
        run=_events,
        flags=(
            many("filter", "Show only what fits KEY=VALUE", "f"),
            LIST_FORMAT,
            text("since", "Begin with events after this time (RFC 3339, or 10m); 4096 are kept"),
            text("until", "End at this time; one in the past alone shows what is kept until then"),
        ),
        examples=(
            "nodeagent events --filter type=container --format json",
            "nodeagent events --since 24h --until 0s --filter container=web",
            "nodeagent events --until 0s --filter label=app=shop",
        ),
    ),
    Verb(
        name="audit",
        help="Show who changed what, and who was refused to",
        run=_audit,
        flags=(
            text("since", "Begin after this time (RFC 3339, or 10m)"),
            text("who", "Only this certificate's name, or uid:N for the unix socket"),
            text("method", "Only this method, or all of a noun: network.rm, network"),
            LIST_FORMAT,
        ),
        examples=(
            "nodeagent system audit --since 24h",
            "nodeagent system audit --who orchestrator --method volume --format json",
        ),
    ),
    Verb(
        name="version",
        help="Show the versions of client and agent",
        run=_version,
        flags=(FORMAT, switch("client", "Only this client's; needs no agent")),
        examples=("nodeagent version",),
    ),
    Verb(
        name="ping",
        help="Ask whether the agent answers",
        run=_ping,
        examples=("nodeagent system ping",),
    ),
    Verb(
        name="prune",
        help="Remove what nobody uses",
        run=_prune,
        flags=(
            switch("all", "All images that no container uses", "a"),
            switch("volumes", "Also anonymous volumes"),
            FORCE,
        ),
        examples=("nodeagent system prune -f",),
    ),
)

"""Containers as objects: list, inspect, stop, remove and the like."""

from collections.abc import Callable
from typing import Final

from nodeagent.cli.call import Call, Row, go_on, parse_filters, pick
from nodeagent.cli.grammar import (
    Flag,
    UsageError,
    Verb,
    Words,
    many,
    number,
    several,
    switch,
    text,
)
from nodeagent.cli.objects import inspect_verb
from nodeagent.cli.output import LIST_FLAGS, human_bytes, print_list, short_id, shorten
from nodeagent.cli.prune import FORCE, prune

COLUMNS: Final = (
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("PORTS", "Ports"),
    ("NAMES", "Names"),
)
_CONTAINERS: Final = several("CONTAINER", "container")
_COMMAND_WIDTH: Final = 20  # as Docker's


def _ls(call: Call) -> int:
    filters = parse_filters(call.values.list("filter"))
    last = 1 if call.values.is_on("latest") else call.values.number("last")
    every = call.values.is_on("all") or last > 0 or "status" in filters or "exited" in filters
    size = call.values.is_on("size") or ".Size" in call.values.text("format")
    rows = call.rows("container.ls", all=every, filters=filters, size=size)
    rows = shape_rows(rows[:last] if last > 0 else rows, whole=call.values.is_on("no-trunc"))
    if not size:
        return print_list(call, rows, COLUMNS, name="ID")
    sized = [row | {"Size": _size(row)} for row in rows]
    return print_list(call, sized, (*COLUMNS, ("SIZE", "Size")), name="ID")


def _size(row: Row) -> str:
    """Docker's words: ``2.1MB (virtual 6.4MB)``, own writes and all there is to see."""
    own, whole = pick(row, "SizeRw", int), pick(row, "SizeRootFs", int)
    return f"{human_bytes(own)} (virtual {human_bytes(whole)})"


def shape_rows(rows: list[Row], *, whole: bool) -> list[Row]:
    """Quote commands, and shorten ids and commands unless they are wanted whole."""
    return [
        row | {"ID": _id(row, whole=whole), "Command": _command(row, whole=whole)} for row in rows
    ]


def _id(row: Row, *, whole: bool) -> str:
    return str(row["ID"]) if whole else short_id(str(row["ID"]))


def _command(row: Row, *, whole: bool) -> str:
    words = str(row["Command"])
    return f'"{words if whole else shorten(words, _COMMAND_WIDTH)}"'


def _each(method: str) -> Callable[[Call], int]:
    """Make the function of a verb that takes names only."""

    def run(call: Call) -> int:
        return call.for_each_word(lambda name: call.rpc(method, name=name) and None)

    return run


def _stop_params(call: Call) -> Row:
    params: Row = {"signal": call.values.text("signal")}
    return params | (
        {"timeout_s": call.values.number("time")} if "time" in call.values.given else {}
    )


def _stopping(method: str) -> Callable[[Call], int]:
    def run(call: Call) -> int:
        params = _stop_params(call)
        return call.for_each_word(lambda name: call.rpc(method, name=name, **params) and None)

    return run


def _kill(call: Call) -> int:
    wanted = call.values.text("signal")
    return call.for_each_word(
        lambda name: call.rpc("container.kill", name=name, signal=wanted) and None
    )


def _rm(call: Call) -> int:
    force, volumes = call.values.is_on("force"), call.values.is_on("volumes")

    def remove(name: str) -> None:
        call.rpc("container.rm", name=name, force=force, volumes=volumes)

    return call.for_each_word(remove)


def _rename(call: Call) -> int:
    old, new = call.words
    if not new:
        raise UsageError("the new name is empty")
    call.rpc("container.rename", name=old, new_name=new)
    return 0


def _update(call: Call) -> int:
    from nodeagent.cli.createparams import limit_params, parse_restart

    values = call.values
    params: Row = {}
    if limits := limit_params(values):
        params["limits"] = limits
    if "restart" in values.given:
        params["restart_policy"] = parse_restart(values.text("restart"))
    if not params:
        raise UsageError("give at least one flag of what to change")
    return call.for_each_word(
        lambda name: call.rpc("container.update", name=name, **params) and None
    )


def _wait(call: Call) -> int:
    condition = call.values.text("condition")
    return go_on(
        call.words,
        lambda name: print(
            call.row("container.wait", name=name, condition=condition)["exit_code"], flush=True
        ),
    )


def _prune(call: Call) -> int:
    what, heading = "containers that do not run", "Deleted Containers:"
    filters = parse_filters(call.values.list("filter"))
    return prune(call, "container.prune", what, heading, filters=filters)


_STOP_FLAGS: Final = (
    text("signal", "Signal that asks the program to end", "s"),
    number("time", "Seconds until KILL; -1 waits for ever (default the container's own)", "t"),
)

VERBS: Final = (
    Verb(
        name="ls",
        help="List containers",
        run=_ls,
        flags=(
            switch("all", "Also those that do not run", "a"),
            *LIST_FLAGS,
            switch("size", "Also what each takes on disk", "s"),
            switch("latest", "Only the newest, running or not", "l"),
            number("last", "Only the N newest, running or not", "n"),
        ),
        aliases=("ps", "list"),
        examples=(
            "nodeagent ps -a",
            "nodeagent ps --filter label=tier=web --format '{{.ID}}\\t{{.Names}}'",
            "nodeagent ps -as",
            "nodeagent rm -f $(nodeagent ps -aq)",
        ),
    ),
    inspect_verb("container", "CONTAINER"),
    Verb(
        name="stop",
        help="Stop containers: a signal, then KILL after the grace time",
        run=_stopping("container.stop"),
        flags=_STOP_FLAGS,
        words=_CONTAINERS,
        examples=("nodeagent stop web db", "nodeagent stop -t 30 db"),
    ),
    Verb(
        name="restart",
        help="Stop containers and start them again",
        run=_stopping("container.restart"),
        flags=_STOP_FLAGS,
        words=_CONTAINERS,
        examples=("nodeagent restart web",),
    ),
    Verb(
        name="kill",
        help="Send a signal to containers",
        run=_kill,
        flags=(text("signal", "Signal to send", "s", "KILL"),),
        words=_CONTAINERS,
        examples=("nodeagent kill web", "nodeagent kill -s HUP web"),
    ),
    Verb(
        name="pause",
        help="Freeze all processes of containers",
        run=_each("container.pause"),
        words=_CONTAINERS,
        examples=("nodeagent pause web",),
    ),
    Verb(
        name="unpause",
        help="Let frozen containers go on",
        run=_each("container.unpause"),
        words=_CONTAINERS,
        examples=("nodeagent unpause web",),
    ),
    Verb(
        name="update",
        help="Change limits or the restart policy of containers, without a restart",
        run=_update,
        flags=(
            text("memory", "Memory limit, e.g. 64m", "m"),
            text("memory-reservation", "Soft memory limit"),
            text("memory-swap", "Memory plus swap; -1 is no limit of swap"),
            text("cpus", "Number of processors, e.g. 1.5"),
            number("cpu-shares", "Weight of processor time", "c"),
            text("cpuset-cpus", "Processors it may run on (0-3, 0,1)"),
            number("pids-limit", "Limit of processes; -1 is none"),
            many("storage-opt", "size=4g: a larger writable layer, from its next start on"),
            text("restart", "Restart policy: no, always, unless-stopped, on-failure[:N]"),
        ),
        words=_CONTAINERS,
        examples=(
            "nodeagent update -m 256m --cpus 1.5 web",
            "nodeagent update --restart unless-stopped web db",
        ),
    ),
    Verb(
        name="rm",
        help="Remove containers",
        run=_rm,
        flags=(
            switch("force", "Kill those that run", "f"),
            switch("volumes", "Also remove their anonymous volumes", "v"),
        ),
        words=_CONTAINERS,
        aliases=("remove",),
        examples=("nodeagent rm web", "nodeagent rm -f $(nodeagent ps -aq)"),
    ),
    Verb(
        name="rename",
        help="Give a container another name",
        run=_rename,
        words=Words(usage="CONTAINER NEW_NAME", least=2, most=2, completes="container"),
        examples=("nodeagent rename web old-web",),
    ),
    Verb(
        name="wait",
        help="Wait until containers ended, and print their exit codes",
        run=_wait,
        flags=(
            Flag(
                name="condition",
                help="What to wait for",
                default="not-running",
                choices=("not-running", "next-exit", "removed"),
            ),
        ),
        words=_CONTAINERS,
        examples=("nodeagent wait job",),
    ),
    Verb(
        name="prune",
        help="Remove all containers that do not run",
        run=_prune,
        flags=(FORCE, many("filter", "Only those: label=K[=V], label!=K[=V], until=TIME")),
        examples=(
            "nodeagent container prune -f",
            "nodeagent container prune -f --filter until=24h --filter label!=keep",
        ),
    ),
)

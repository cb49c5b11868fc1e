"""RPC methods of containers: parameters, results, stream items. Pure."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from nodeagent.model.containerrequest import (
    ContainerCreate,
    LimitsChange,
    Name,
    RestartPolicy,
    Text,
    Words,
)
from nodeagent.model.containerview import ContainerRow, ContainerView, StatsView
from nodeagent.model.volume import Pruned
from nodeagent.rpc.schema.shapes import (
    Done,
    Filters,
    Id,
    ListParams,
    Method,
    Params,
    Ref,
    Refs,
    change,
    read,
)


class ContainerStop(Params, frozen=True):
    name: Text
    timeout_s: Annotated[int, Meta(ge=-1)] | None = None  # None: the container's own; -1: for ever
    signal: Name = ""


class ContainerKill(Params, frozen=True):
    name: Text
    signal: Name = "KILL"


class ContainerRemove(Params, frozen=True):
    name: Text
    force: bool = False
    volumes: bool = False


class ContainerPrune(Params, frozen=True):
    """Filters: label, label! (not), until."""

    filters: Filters = {}


class ContainerList(ListParams, frozen=True):
    """``size``: also what each takes on disk; walks every writable layer."""

    size: bool = False


class ContainerInspect(Refs, frozen=True):
    """``size``: also what each takes on disk; walks every writable layer."""

    size: bool = False


class ContainerRename(Params, frozen=True):
    name: Text
    new_name: Name


class ContainerUpdate(Params, frozen=True):
    name: Text
    limits: LimitsChange = LimitsChange()
    restart_policy: RestartPolicy | None = None


class ContainerWait(Params, frozen=True):
    name: Text
    condition: Literal["not-running", "next-exit", "removed"] = "not-running"


class WaitResult(Struct, frozen=True, kw_only=True):
    exit_code: int
    error: str = ""


class ContainerLogs(Params, frozen=True):
    """``since``/``until``: RFC 3339, seconds since the epoch, or a duration like ``10m``.

    ``after``: a cursor that an item carried; reading goes on behind it, whatever ``tail`` says.
    """

    name: Text
    follow: bool = False
    stdout: bool = True
    stderr: bool = True
    since: Name = ""
    until: Name = ""
    tail: Annotated[int, Meta(ge=-1)] = -1
    after: Name = ""
    details: bool = False
    window: Annotated[int, Meta(ge=0)] = 0


class LogItem(Struct, frozen=True, kw_only=True):
    """``lost``: not 0 = no line; so many log files were dropped before they could be read."""

    stream: Literal["stdout", "stderr"]
    time_ns: int
    data: bytes
    cursor: str = ""
    lost: int = 0
    attributes: dict[str, str] = {}  # with ``details``


class ContainerAttach(Params, frozen=True):
    """Input arrives as ``[2, "stream.input", [id, bytes or nil]]``; nil closes stdin."""

    name: Text
    stdin: bool = True
    window: Annotated[int, Meta(ge=0)] = 0


class OutputItem(Struct, frozen=True, kw_only=True):
    """A piece of output; the first item of a call is empty and says that the call is set up."""

    stream: Literal["stdout", "stderr"]
    data: bytes


class ContainerExec(Params, frozen=True):
    name: Text
    cmd: Words
    env: Words = []
    working_dir: Text = ""
    user: Name = ""
    tty: bool = False
    stdin: bool = False
    privileged: bool = False
    detach: bool = False
    rows: Annotated[int, Meta(ge=0, le=10000)] = 0
    columns: Annotated[int, Meta(ge=0, le=10000)] = 0
    window: Annotated[int, Meta(ge=0)] = 0


class ContainerStats(Params, frozen=True):
    """Empty ``names`` = all running; ``stream`` repeats every second."""

    names: Words = []
    stream: bool = False
    window: Annotated[int, Meta(ge=0)] = 0


class TopResult(Struct, frozen=True, kw_only=True):
    titles: list[str]
    processes: list[list[str]]


METHODS = (
    change("container.create", "Make a container; it does not run yet.", ContainerCreate, Id),
    change("container.start", "Start a created or exited container.", Ref, Done),
    change("container.stop", "Stop signal, then KILL after the grace time.", ContainerStop, Done),
    change("container.kill", "Send a signal to the first process.", ContainerKill, Done),
    change("container.restart", "Stop and start again.", ContainerStop, Done),
    change("container.pause", "Freeze all processes.", Ref, Done),
    change("container.unpause", "Thaw a paused container.", Ref, Done),
    change("container.rm", "Remove a container and its writable layer.", ContainerRemove, Done),
    change("container.rename", "Give a container another name.", ContainerRename, Done),
    change("container.update", "Change limits or the restart policy, live.", ContainerUpdate, Done),
    change("container.prune", "Remove containers that do not run.", ContainerPrune, Pruned),
    read("container.wait", "Wait until it ended; answer its exit code.", ContainerWait, WaitResult),
    read(
        "container.ls",
        "List containers; only running ones unless all.",
        ContainerList,
        list[ContainerRow],
    ),
    read("container.inspect", "All about containers.", ContainerInspect, list[ContainerView]),
    read("container.top", "Processes in a container.", Ref, TopResult),
    read("container.logs", "Read the log.", ContainerLogs, Done, LogItem),
    read("container.stats", "Resource use.", ContainerStats, Done, StatsView),
    Method(
        name="container.attach",
        doc="Join the container's terminal or pipes.",
        params=ContainerAttach,
        result=WaitResult,
        stream=OutputItem,
        takes_input=True,
    ),
    Method(
        name="container.exec",
        doc="Run a further command in a running container.",
        params=ContainerExec,
        result=WaitResult,
        stream=OutputItem,
        takes_input=True,
    ),
)

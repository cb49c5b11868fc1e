"""Every RPC method: parameters, result, stream items. Pure; the whole published surface.

A call is msgpack-rpc: ``[0, id, method, [params]]`` where ``params`` is one map (or nothing).
A streaming method sends notifications ``[2, "stream", [id, item]]`` before its response.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta, Struct

from nodeagent.model.container import (
    ContainerCreate,
    ContainerRow,
    ContainerView,
    Labels,
    Name,
    StatsView,
    Text,
    Words,
)
from nodeagent.model.drift import AuditResult, DriftResult, PlanResult
from nodeagent.model.explain import Explain, ExplainView
from nodeagent.model.health import HealthSettings
from nodeagent.model.image import HistoryView, ImageRemoved, ImageRow, ImageView, PullItem
from nodeagent.model.network import (
    NetworkConnect,
    NetworkCreate,
    NetworkDisconnect,
    NetworkPrune,
    NetworkRemove,
    NetworkRow,
    NetworkView,
)
from nodeagent.model.port import PortRow
from nodeagent.model.system import DiskUsageRow, Event, InfoView, VersionView
from nodeagent.model.volume import Pruned, VolumeCreate, VolumeRow, VolumeView
from nodeagent.rpc.description import Description

Filters = Annotated[dict[Name, Words], Meta(max_length=64)]  # {"label": ["a=b"], "status": […]}


class Params(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of a call; every field is typed, an unknown one is an error."""


class Nothing(Params, frozen=True):
    """No parameters."""


class Ref(Params, frozen=True):
    """One object by name, id or unique id prefix."""

    name: Text


class Refs(Params, frozen=True):
    """Several objects."""

    names: Words


class Id(Struct, frozen=True, kw_only=True):
    """What a create answers."""

    id: str
    name: str
    warnings: list[str] = []


class Done(Struct, frozen=True, kw_only=True):
    """The change is made."""


class ListParams(Params, frozen=True):
    all: bool = False
    filters: Filters = {}


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


class ContainerRename(Params, frozen=True):
    name: Text
    new_name: Name


class ContainerWait(Params, frozen=True):
    name: Text
    condition: Literal["not-running", "next-exit", "removed"] = "not-running"


class WaitResult(Struct, frozen=True, kw_only=True):
    exit_code: int
    error: str = ""


class ContainerLogs(Params, frozen=True):
    """``since``/``until``: RFC 3339, seconds since the epoch, or a duration like ``10m``."""

    name: Text
    follow: bool = False
    stdout: bool = True
    stderr: bool = True
    since: Name = ""
    until: Name = ""
    tail: Annotated[int, Meta(ge=-1)] = -1
    window: Annotated[int, Meta(ge=0)] = 0


class LogItem(Struct, frozen=True, kw_only=True):
    stream: Literal["stdout", "stderr"]
    time_ns: int
    data: bytes


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


class ImagePull(Params, frozen=True):
    ref: Text
    platform: Name = ""
    window: Annotated[int, Meta(ge=0)] = 0


class ImageImport(Params, frozen=True):
    """The tar arrives as stream input."""

    ref: Text = ""
    message: Text = ""
    cmd: Words = []
    entrypoint: Words = []
    env: Words = []
    working_dir: Text = ""
    user: Name = ""
    exposed_ports: Words = []
    volumes: Words = []
    labels: Labels = {}
    health: HealthSettings = HealthSettings()
    window: Annotated[int, Meta(ge=0)] = 0


class ImageLoad(Params, frozen=True):
    """The archive arrives as stream input."""

    window: Annotated[int, Meta(ge=0)] = 0


class LoadResult(Struct, frozen=True, kw_only=True):
    images: list[str]  # names, or ids of unnamed ones


class ImageTag(Params, frozen=True):
    source: Text
    target: Text


class ImageRemove(Params, frozen=True):
    name: Text
    force: bool = False


class ImagePrune(Params, frozen=True):
    all: bool = False


class NetworkPlan(Params, frozen=True):
    """One change, with the parameters of its own method; none = what a repair would do."""

    create: NetworkCreate | None = None
    rm: Ref | None = None
    connect: NetworkConnect | None = None
    disconnect: NetworkDisconnect | None = None
    run: ContainerCreate | None = None


class VolumeRemove(Params, frozen=True):
    name: Text
    force: bool = False


class VolumePrune(Params, frozen=True):
    """Without ``all`` only anonymous volumes go."""

    all: bool = False


class EventsParams(Params, frozen=True):
    """``since``/``until`` as for logs; ``until`` ends the stream."""

    since: Name = ""
    until: Name = ""
    filters: Filters = {}
    window: Annotated[int, Meta(ge=0)] = 0


class OnNetwork(Params, frozen=True):
    """Everything, or what one network depends on."""

    network: str = ""  # name, id or unique id prefix; "": all


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One line of the table. ``changes`` calls are what an audit log and roles care about."""

    name: str
    doc: str
    params: type
    result: object  # a type msgspec can encode and describe
    stream: type | None = None
    takes_input: bool = False
    changes: bool = True


def _read(name: str, doc: str, params: type, result: object, stream: type | None = None) -> Method:
    return Method(name=name, doc=doc, params=params, result=result, stream=stream, changes=False)


def _change(name: str, doc: str, params: type, result: object) -> Method:
    return Method(name=name, doc=doc, params=params, result=result)


_TABLE = (
    _change("container.create", "Make a container; it does not run yet.", ContainerCreate, Id),
    _change("container.start", "Start a created or exited container.", Ref, Done),
    _change("container.stop", "Stop signal, then KILL after the grace time.", ContainerStop, Done),
    _change("container.kill", "Send a signal to the first process.", ContainerKill, Done),
    _change("container.restart", "Stop and start again.", ContainerStop, Done),
    _change("container.pause", "Freeze all processes.", Ref, Done),
    _change("container.unpause", "Thaw a paused container.", Ref, Done),
    _change("container.rm", "Remove a container and its writable layer.", ContainerRemove, Done),
    _change("container.rename", "Give a container another name.", ContainerRename, Done),
    _change("container.prune", "Remove all containers that do not run.", Nothing, Pruned),
    _read(
        "container.wait", "Wait until it ended; answer its exit code.", ContainerWait, WaitResult
    ),
    _read(
        "container.ls",
        "List containers; only running ones unless all.",
        ListParams,
        list[ContainerRow],
    ),
    _read("container.inspect", "All about containers.", Refs, list[ContainerView]),
    _read("container.top", "Processes in a container.", Ref, TopResult),
    _read("container.logs", "Read the log.", ContainerLogs, Done, LogItem),
    _read("container.stats", "Resource use.", ContainerStats, Done, StatsView),
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
    Method(
        name="image.pull",
        doc="Fetch an image from its registry.",
        params=ImagePull,
        result=ImageView,
        stream=PullItem,
    ),
    Method(
        name="image.import",
        doc="Make an image of a root filesystem tar.",
        params=ImageImport,
        result=ImageView,
        takes_input=True,
    ),
    Method(
        name="image.load",
        doc="Take a docker save or OCI archive.",
        params=ImageLoad,
        result=LoadResult,
        stream=PullItem,
        takes_input=True,
    ),
    _read("image.ls", "List images.", ListParams, list[ImageRow]),
    _read("image.inspect", "All about images.", Refs, list[ImageView]),
    _read(
        "image.history", "Instructions an image was built by, newest first.", Ref, list[HistoryView]
    ),
    _change("image.tag", "Add a name to an image.", ImageTag, Done),
    _change(
        "image.rm", "Remove a name, and the image with its last one.", ImageRemove, ImageRemoved
    ),
    _change("image.prune", "Remove images without name, or all unused.", ImagePrune, Pruned),
    _change("network.create", "Make a network.", NetworkCreate, Id),
    _change("network.rm", "Remove a network without endpoints.", NetworkRemove, Done),
    _change("network.connect", "Attach a container to a network.", NetworkConnect, Done),
    _change("network.disconnect", "Detach a container from a network.", NetworkDisconnect, Done),
    _change("network.prune", "Remove networks without endpoints.", NetworkPrune, Pruned),
    _read("network.ls", "List networks.", ListParams, list[NetworkRow]),
    _read("network.inspect", "All about networks.", Refs, list[NetworkView]),
    _read(
        "network.plan",
        "What a change would do to the kernel, or without one a repair.",
        NetworkPlan,
        PlanResult,
    ),
    _read("network.explain", "At which hop a packet dies, and why.", Explain, ExplainView),
    _read(
        "network.check",
        "What in the kernel is not as wanted; nothing is done.",
        OnNetwork,
        DriftResult,
    ),
    _change(
        "network.repair", "Make the kernel agree with what is wanted, now.", OnNetwork, DriftResult
    ),
    _read("network.audit", "What is ours and nobody's.", Nothing, AuditResult),
    _read("port.ls", "List published ports, with who can reach them.", ListParams, list[PortRow]),
    _change(
        "volume.create", "Make a volume, or answer the one that is there.", VolumeCreate, VolumeView
    ),
    _change("volume.rm", "Remove a volume that nobody uses.", VolumeRemove, Done),
    _change("volume.prune", "Remove volumes nobody uses.", VolumePrune, Pruned),
    _read("volume.ls", "List volumes.", ListParams, list[VolumeRow]),
    _read("volume.inspect", "All about volumes.", Refs, list[VolumeView]),
    _read("system.info", "The agent, its host and its counts.", Nothing, InfoView),
    _read("system.version", "Versions.", Nothing, VersionView),
    _read("system.df", "Disk use by kind.", Nothing, list[DiskUsageRow]),
    _read("system.events", "What happens, as it happens.", EventsParams, Done, Event),
    _read("system.ping", "Answer.", Nothing, Done),
    _read("rpc.describe", "List every method with its schemas.", Nothing, Description),
)

METHODS: dict[str, Method] = {method.name: method for method in _TABLE}

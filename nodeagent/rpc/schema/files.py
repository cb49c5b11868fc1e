"""RPC methods of files in containers: parameters, results, stream items. Pure."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from nodeagent.model.containerrequest import Labels, Name, Text, Words
from nodeagent.model.health import HealthSettings
from nodeagent.model.image import ImageView
from nodeagent.rpc.schema.shapes import DataItem, Done, Method, Params, change, read


class PathParams(Params, frozen=True):
    """``path``: inside the container; ``follow``: also a link at its end."""

    name: Text
    path: Text
    follow: bool = False
    window: Annotated[int, Meta(ge=0)] = 0


class PathResult(Struct, frozen=True, kw_only=True):
    """``path``: after links that were followed; ``mode``: as st_mode, with the type."""

    path: str
    size_bytes: int
    mode: int
    mtime_ns: int
    link_target: str


class CopyIn(Params, frozen=True):
    """The tar arrives as stream input and is unpacked in the folder ``path``."""

    name: Text
    path: Text
    keep_owner: bool = False


class ContainerExport(Params, frozen=True):
    name: Text
    window: Annotated[int, Meta(ge=0)] = 0


class ChangeRow(Struct, frozen=True, kw_only=True):
    kind: Literal["A", "C", "D"]
    path: str


class ChangesItem(Struct, frozen=True, kw_only=True):
    """Some of the changes, in order of paths."""

    changes: list[ChangeRow]


class ContainerCommit(Params, frozen=True):
    """What is given takes the place of the container's own; lists of names are added to it."""

    name: Text
    ref: Text = ""
    author: Text = ""
    message: Text = ""
    pause: bool = True
    cmd: Words | None = None
    entrypoint: Words | None = None
    env: Words = []
    working_dir: Text = ""
    user: Name = ""
    exposed_ports: Words = []
    volumes: Words = []
    labels: Labels = {}
    health: HealthSettings = HealthSettings()


METHODS = (
    read("container.stat", "Look at a path in a container.", PathParams, PathResult),
    read("container.pack", "The tar of a path in a container.", PathParams, Done, DataItem),
    Method(
        name="container.unpack",
        doc="Unpack a tar into a folder of a container.",
        params=CopyIn,
        result=Done,
        takes_input=True,
    ),
    read("container.export", "The tar of a root filesystem.", ContainerExport, Done, DataItem),
    read(
        "container.diff",
        "What a container changed in its root filesystem.",
        ContainerExport,
        Done,
        ChangesItem,
    ),
    change("container.commit", "Make an image of a container.", ContainerCommit, ImageView),
)

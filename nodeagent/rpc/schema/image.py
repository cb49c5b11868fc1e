"""RPC methods of images: parameters, results, stream items. Pure."""

from typing import Annotated

from msgspec import Meta, Struct

from nodeagent.model.containerrequest import Labels, Name, Text, Words
from nodeagent.model.health import HealthSettings
from nodeagent.model.image import HistoryView, ImageRemoved, ImageRow, ImageView, PullItem
from nodeagent.model.volume import Pruned
from nodeagent.rpc.schema.shapes import (
    DataItem,
    Done,
    ListParams,
    Method,
    Params,
    Ref,
    Refs,
    change,
    read,
)


class RegistryLogin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who asks the registry; user ``<token>``: the password is a refresh token."""

    user: Name
    password: Text


class ImagePull(Params, frozen=True):
    ref: Text
    platform: Name = ""
    login: RegistryLogin | None = None
    window: Annotated[int, Meta(ge=0)] = 0


class ImagePush(Params, frozen=True):
    ref: Text
    login: RegistryLogin | None = None
    window: Annotated[int, Meta(ge=0)] = 0


class PushResult(Struct, frozen=True, kw_only=True):
    digest: str  # of the manifest in the registry


class ImageTags(Params, frozen=True):
    ref: Text
    login: RegistryLogin | None = None


class ImageLogin(Params, frozen=True):
    """``server``: as it stands before an image's name; ``docker.io`` is Docker Hub."""

    server: Name
    login: RegistryLogin


class ImageSave(Params, frozen=True):
    names: Words
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


METHODS = (
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
    Method(
        name="image.push",
        doc="Bring an image to the registry of its name.",
        params=ImagePush,
        result=PushResult,
        stream=PullItem,
    ),
    read("image.tags", "All tags a registry has of a repository.", ImageTags, list[str]),
    read("image.login", "Ask a registry whether a login is good.", ImageLogin, Done),
    read("image.save", "An archive of images.", ImageSave, Done, DataItem),
    read("image.ls", "List images.", ListParams, list[ImageRow]),
    read("image.inspect", "All about images.", Refs, list[ImageView]),
    read(
        "image.history", "Instructions an image was built by, newest first.", Ref, list[HistoryView]
    ),
    change("image.tag", "Add a name to an image.", ImageTag, Done),
    change(
        "image.rm", "Remove a name, and the image with its last one.", ImageRemove, ImageRemoved
    ),
    change("image.prune", "Remove images without name, or all unused.", ImagePrune, Pruned),
)

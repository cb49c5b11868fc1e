"""A volume: request, record and views."""

from typing import Literal

from msgspec import Struct

from nodeagent.model.containerrequest import Labels, Name


class VolumeCreate(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``volume.create``; name "" makes an anonymous volume."""

    name: Name = ""
    driver: Name = "local"
    options: Labels = {}
    labels: Labels = {}


class VolumeRecord(Struct, frozen=True, kw_only=True):
    """All that is durable about one volume."""

    name: str
    driver: str
    options: dict[str, str]
    labels: dict[str, str]
    created: str
    phase: Literal["creating", "ready", "removing"]
    anonymous: bool = False


class _View(Struct, frozen=True, kw_only=True, rename="pascal"):
    """Docker's spelling."""


class VolumeUsageView(_View, frozen=True, kw_only=True):
    size: int
    inodes: int
    ref_count: int


class VolumeView(_View, frozen=True, kw_only=True):
    """One element of ``volume.inspect``."""

    name: str
    driver: str
    mountpoint: str
    created_at: str
    labels: dict[str, str]
    scope: str
    options: dict[str, str]
    used_by: list[str]  # container names
    anonymous: bool
    health: str
    health_reason: str
    usage_data: VolumeUsageView


class VolumeRow(_View, frozen=True, kw_only=True):
    """One line of ``volume.ls``."""

    name: str
    driver: str
    mountpoint: str
    scope: str
    labels: str
    links: int  # containers that use it


class Pruned(_View, frozen=True, kw_only=True):
    """What a prune removed."""

    deleted: list[str]
    space_reclaimed: int

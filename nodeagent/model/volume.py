"""A volume: request, record and views."""

from typing import Literal

from msgspec import Struct

from nodeagent.model.containerrequest import Labels, Name
from nodeagent.model.lease import Sharing


class VolumeCreate(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``volume.create``; name "" makes an anonymous volume."""

    name: Name = ""
    driver: Name = "local"
    options: Labels = {}
    labels: Labels = {}
    sharing: Sharing = "all"  # who may use it at once


class VolumeRecord(Struct, frozen=True, kw_only=True):
    """All that is durable about one volume."""

    name: str
    driver: str
    options: dict[str, str]
    labels: dict[str, str]
    created: str
    phase: Literal["creating", "ready", "removing"]
    anonymous: bool = False
    sharing: Sharing = "all"


class _View(Struct, frozen=True, kw_only=True, rename="pascal"):
    """Docker's spelling."""


class VolumeUsageView(_View, frozen=True, kw_only=True):
    size: int
    inodes: int
    limit: int
    ref_count: int


class LeaseView(_View, frozen=True, kw_only=True):
    holder: str
    node: str
    epoch: int
    access: str
    taken_at: str
    leaving: bool  # its mount could not be given back yet


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
    sharing: str
    driver_state: str  # closed, open, half-open: whether its driver answers
    last_user: str  # name of the last container
    last_used_at: str
    leases: list[LeaseView]
    usage_data: VolumeUsageView


class VolumeRow(_View, frozen=True, kw_only=True):
    """One line of ``volume.ls``."""

    name: str
    driver: str
    mountpoint: str
    scope: str
    labels: str
    links: int  # containers that use it
    status: str  # "ok", or why it cannot be used; as last seen, nobody is asked
    sharing: str
    last_used: str


class Pruned(_View, frozen=True, kw_only=True):
    """What a prune removed."""

    deleted: list[str]
    space_reclaimed: int

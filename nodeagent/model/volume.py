"""A volume: request, record and views."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from nodeagent.model.containerrequest import Labels, Name, Text, Words
from nodeagent.model.lease import Sharing

# what becomes of containers that use a volume when the node cannot keep its lease in the cluster
LeaseLoss = Literal["pause", "stop", "kill"]


class VolumeCreate(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``volume.create``; name "" makes an anonymous volume."""

    name: Name = ""
    driver: Name = "local"
    options: Labels = {}
    labels: Labels = {}
    sharing: Sharing = "all"  # who may use it at once
    shared: bool = False  # on every host of a cluster the name means these bytes
    on_lease_loss: LeaseLoss = "stop"


class Schedule(Struct, frozen=True, kw_only=True, rename="pascal"):
    """Snapshots by the clock."""

    every_s: Annotated[float, Meta(ge=60)]
    keep: Annotated[int, Meta(ge=1, le=1000)]


class VolumeUpdate(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``volume.update``; what is not given stays."""

    name: Text
    labels: Labels = {}
    labels_gone: Words = []
    sharing: Sharing | None = None
    size: Name = ""
    schedule: Schedule | None = None
    no_schedule: bool = False


class VolumeRecord(Struct, frozen=True, kw_only=True):
    """All that is durable about one volume."""

    name: str
    driver: str
    options: dict[str, str]
    labels: dict[str, str]
    created: str
    # copying: taken away at the next start; moving: finished then, from ``moved_from``
    phase: Literal["creating", "copying", "moving", "ready", "removing"]
    anonymous: bool = False
    sharing: Sharing = "all"
    shared: bool = False
    on_lease_loss: LeaseLoss = "stop"
    kind: Literal["volume", "snapshot", "removed"] = "volume"
    origin: str = ""  # of what it was made
    expires: str = ""  # of a removed one: when it is deleted
    moved_from: str = ""
    schedule: Schedule | None = None


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


class ClusterLeaseView(_View, frozen=True, kw_only=True):
    """One line of ``volume.leases``: who has a volume in the cluster."""

    volume: str
    holder: str
    container: str
    node: str
    epoch: int
    access: str
    taken_at: str
    status: str  # held, expired (anybody may have it); here also stopping: not renewed in time
    is_self: bool
    renew_within_s: float = -1.0  # of this node's: until it stops its own writers


class LeaseBreak(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Take a volume from a node. ``force``: also from one whose session has not ended."""

    name: Text
    node: Text
    force: bool = False


class LeaseBroken(_View, frozen=True, kw_only=True):
    """Names of the containers that had it."""

    holders: list[str]


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
    kind: str  # volume, snapshot, removed
    origin: str
    expires_at: str
    schedule: Schedule | None
    driver_state: str  # closed, open, half-open: whether its driver answers
    last_user: str  # name of the last container
    last_used_at: str
    leases: list[LeaseView]
    shared: bool  # its leases are the cluster's when this agent is in one
    on_lease_loss: str
    cluster_leases: list[ClusterLeaseView]  # those that this node holds
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
    kind: str
    origin: str
    expires: str
    last_used: str


class Pruned(_View, frozen=True, kw_only=True):
    """What a prune removed."""

    deleted: list[str]
    space_reclaimed: int


class VolumeCopied(_View, frozen=True, kw_only=True):
    """What a snapshot, clone or restore made."""

    name: str
    of: str
    method: str  # reflink, subvolume, copy, rename


class VolumeArchive(_View, frozen=True, kw_only=True):
    """What was read or written as an archive."""

    name: str
    sha256: str = ""
    bytes: int = 0


class VolumeBackup(_View, frozen=True, kw_only=True):
    """One backup: where it is, and how much of it the last one had already."""

    name: str
    path: str
    files: int
    bytes: int
    shared_files: int

"""RPC methods of volumes: parameters, results, stream items. Pure."""

from typing import Annotated, Literal

from msgspec import Meta

from nodeagent.model.containerrequest import Labels, Name, Text
from nodeagent.model.volume import (
    ClusterLeaseView,
    LeaseBreak,
    LeaseBroken,
    Pruned,
    VolumeArchive,
    VolumeBackup,
    VolumeCopied,
    VolumeCreate,
    VolumeRow,
    VolumeUpdate,
    VolumeView,
)
from nodeagent.rpc.schema.shapes import (
    DataItem,
    Done,
    ListParams,
    Method,
    Nothing,
    Params,
    Ref,
    Refs,
    change,
    read,
)

Sha256 = Annotated[str, Meta(pattern="^([0-9a-fA-F]{64})?$")]


class VolumeRemove(Params, frozen=True):
    """``now``: nothing is kept."""

    name: Text
    force: bool = False
    now: bool = False


class VolumePrune(Params, frozen=True):
    """Without ``all`` only anonymous volumes go; ``expired``: removed ones whose time has come."""

    all: bool = False
    now: bool = False
    expired: bool = False


class VolumeSnapshot(Params, frozen=True):
    """``label`` "": the time. ``quiesce`` runs by sh in each container that writes, before."""

    name: Text
    label: Name = ""
    quiesce: Text = ""
    resume: Text = ""


class VolumeClone(Params, frozen=True):
    """``name``: a volume or a snapshot."""

    name: Text
    target: Name


class VolumeRename(Params, frozen=True):
    name: Text
    new: Name


class VolumeExport(Params, frozen=True):
    name: Text
    compress: Literal["none", "zstd"] = "none"
    window: Annotated[int, Meta(ge=0)] = 0


class VolumeImport(Params, frozen=True):
    """The archive arrives as stream input. ``sha256``: of its bytes; "" = unchecked.

    ``driver`` "": that of the volume that is there, else local.
    """

    name: Name
    driver: Name = ""
    options: Labels = {}
    labels: Labels = {}
    sha256: Sha256 = ""


class VolumeBackupParams(Params, frozen=True):
    """``target``: a directory of the host, or a volume; ``keep``: how many stay, 0 = all."""

    name: Text
    target: Text
    keep: Annotated[int, Meta(ge=0, le=10_000)] = 0


METHODS = (
    change(
        "volume.create", "Make a volume, or answer the one that is there.", VolumeCreate, VolumeView
    ),
    change("volume.rm", "Remove a volume that nobody uses.", VolumeRemove, VolumeCopied),
    change("volume.prune", "Remove volumes nobody uses.", VolumePrune, Pruned),
    change("volume.update", "Change labels, sharing, size, schedule.", VolumeUpdate, VolumeView),
    change("volume.rename", "Give an unused volume another name.", VolumeRename, Done),
    change("volume.snapshot", "Keep what a volume is now.", VolumeSnapshot, VolumeCopied),
    change("volume.clone", "Make a volume of another's bytes.", VolumeClone, VolumeCopied),
    change("volume.backup", "Add to a volume's backups.", VolumeBackupParams, VolumeBackup),
    change("volume.restore", "Go back to a snapshot, or undo a removal.", Ref, VolumeCopied),
    read("volume.export", "The tar of all in a volume.", VolumeExport, VolumeArchive, DataItem),
    Method(
        name="volume.import",
        doc="Make a volume of a tar, or replace the content of one.",
        params=VolumeImport,
        result=VolumeArchive,
        takes_input=True,
    ),
    read("volume.ls", "List volumes.", ListParams, list[VolumeRow]),
    read("volume.leases", "Who has which volume in the cluster.", Nothing, list[ClusterLeaseView]),
    change("volume.breaklease", "Take a volume from a node.", LeaseBreak, LeaseBroken),
    read("volume.inspect", "All about volumes.", Refs, list[VolumeView]),
)

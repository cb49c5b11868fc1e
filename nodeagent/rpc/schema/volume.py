"""RPC methods of volumes: parameters, results, stream items. Pure."""

from nodeagent.model.containerrequest import Text
from nodeagent.model.volume import Pruned, VolumeCreate, VolumeRow, VolumeView
from nodeagent.rpc.schema.shapes import Done, ListParams, Params, Refs, change, read


class VolumeRemove(Params, frozen=True):
    name: Text
    force: bool = False


class VolumePrune(Params, frozen=True):
    """Without ``all`` only anonymous volumes go."""

    all: bool = False


METHODS = (
    change(
        "volume.create", "Make a volume, or answer the one that is there.", VolumeCreate, VolumeView
    ),
    change("volume.rm", "Remove a volume that nobody uses.", VolumeRemove, Done),
    change("volume.prune", "Remove volumes nobody uses.", VolumePrune, Pruned),
    read("volume.ls", "List volumes.", ListParams, list[VolumeRow]),
    read("volume.inspect", "All about volumes.", Refs, list[VolumeView]),
)

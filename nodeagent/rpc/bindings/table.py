"""Which handler answers which method."""

from collections.abc import Mapping

from nodeagent.rpc.bindings.cluster import ClusterMethods
from nodeagent.rpc.bindings.container import ContainerMethods
from nodeagent.rpc.bindings.files import FileMethods
from nodeagent.rpc.bindings.image import ImageMethods
from nodeagent.rpc.bindings.network import NetworkMethods
from nodeagent.rpc.bindings.system import SystemMethods
from nodeagent.rpc.bindings.usecases import UseCases
from nodeagent.rpc.bindings.volume import VolumeMethods
from nodeagent.rpc.schema.table import METHODS
from nodeagent.rpc.server import Handler

NOUNS = (
    ContainerMethods,
    FileMethods,
    ImageMethods,
    NetworkMethods,
    VolumeMethods,
    ClusterMethods,
    SystemMethods,
)


def build_table(use: UseCases) -> Mapping[str, Handler]:
    """One handler for each method but ``rpc.describe``, which the server answers itself."""
    handlers: dict[str, Handler] = {}
    for noun in NOUNS:
        bound = noun(use)
        names = [name for name in METHODS if hasattr(noun, name.replace(".", "_"))]
        handlers |= {name: getattr(bound, name.replace(".", "_")) for name in names}
    return handlers

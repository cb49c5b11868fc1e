"""What the handlers call."""

from dataclasses import dataclass

from nodeagent.control.attachments import Attachments
from nodeagent.control.audit import Auditor
from nodeagent.control.auditlog import AuditLog
from nodeagent.control.cluster import Cluster
from nodeagent.control.clusterbackup import ClusterBackups
from nodeagent.control.containers import Containers
from nodeagent.control.explaining import Explaining
from nodeagent.control.files import ContainerFiles
from nodeagent.control.imaging import Imaging
from nodeagent.control.lifecycle import Lifecycle
from nodeagent.control.membership import Membership
from nodeagent.control.netinspect import NetworkInspector
from nodeagent.control.networks import Networks
from nodeagent.control.nodes import Nodes
from nodeagent.control.planning import Planner
from nodeagent.control.pruning import Pruner
from nodeagent.control.quiescing import Quiescing
from nodeagent.control.repair import Repairer
from nodeagent.control.rotation import Rotation
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.control.sizes import Sizes
from nodeagent.control.streams import Streams
from nodeagent.control.system import System
from nodeagent.control.updating import Updater
from nodeagent.control.volumecopies import VolumeCopies
from nodeagent.control.volumefence import VolumeFence
from nodeagent.control.volumekeeper import VolumeKeeper
from nodeagent.control.volumes import Volumes
from nodeagent.control.volumestreams import VolumeStreams


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """All use cases, built by the daemon."""

    attachments: Attachments
    audit: AuditLog
    auditor: Auditor
    cluster: Cluster
    containers: Containers
    explaining: Explaining
    files: ContainerFiles
    lifecycle: Lifecycle
    imaging: Imaging
    inspector: NetworkInspector
    membership: Membership
    cluster_backups: ClusterBackups
    rotation: Rotation
    networks: Networks
    nodes: Nodes
    planner: Planner
    pruner: Pruner
    repairer: Repairer
    sandboxes: Sandboxes
    sizes: Sizes
    streams: Streams
    system: System
    updater: Updater
    volumes: Volumes
    copies: VolumeCopies
    quiescing: Quiescing
    volume_fence: VolumeFence
    volume_keeper: VolumeKeeper
    volume_streams: VolumeStreams

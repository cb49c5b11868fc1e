"""What /metrics says of a cluster and the encrypted way to its nodes. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nodeagent.metrics.exposition import Family, counter, gauge, labels


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSample:
    """Another node, as the encrypting device sees it; ``handshake_age_s`` -1 = never."""

    id: str  # names may be the same
    node: str
    handshake_age_s: float = -1.0
    rx_bytes: int = 0
    tx_bytes: int = 0
    proof_age_s: float = -1.0  # since a known packet was seen to leave encrypted; -1 = never


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSample:
    """This agent in a cluster; ``nodes`` by status, ``remotes`` by network."""

    nodes: Mapping[str, int] = field(default_factory=dict)
    is_store_up: bool = True
    is_encryption_up: bool = True
    encryption_restarts: int = 0
    clear_refused: int = 0  # packets of encrypted networks, seen in clear on this host's links
    clear_sent: int = 0
    peers: Sequence[PeerSample] = ()
    remotes: Mapping[str, int] = field(default_factory=dict)
    leases: int = 0  # of volumes, in the cluster, of this node
    lease_margin_s: float = 0.0
    lease_losses: int = 0
    lease_renewal_failures: int = 0


def collect_cluster(cluster: ClusterSample | None) -> Iterator[Family]:
    """The families of a cluster; outside one there is nothing to say."""
    if cluster is None:
        return
    yield gauge(
        "nodeagent_cluster_nodes",
        "Nodes of the cluster by status.",
        [
            (labels(status=status), count)
            for status, count in {"ready": 0, "down": 0, **cluster.nodes}.items()
        ],
    )
    yield gauge(
        "nodeagent_cluster_store_up",
        "Whether the cluster's store takes changes from this node.",
        [("", int(cluster.is_store_up))],
    )
    yield gauge(
        "nodeagent_overlay_remote_endpoints",
        "Endpoints on other nodes that this one knows, by network.",
        [(labels(network=name), count) for name, count in cluster.remotes.items()],
    )
    yield gauge(
        "nodeagent_encryption_up",
        "Whether encrypted networks can send; if not, they send nothing.",
        [("", int(cluster.is_encryption_up))],
    )
    yield counter(
        "nodeagent_encryption_restarts_total",
        "Times that the encrypting program was started again.",
        [("", cluster.encryption_restarts)],
    )
    yield counter(
        "nodeagent_encryption_clear_packets_total",
        "Packets of encrypted networks seen in clear: refused ones that came, and leaks.",
        [
            (labels(direction="in"), cluster.clear_refused),
            (labels(direction="out"), cluster.clear_sent),
        ],
    )
    yield from _leases(cluster)
    yield from _peers(cluster.peers)


def _leases(cluster: ClusterSample) -> Iterator[Family]:
    yield gauge(
        "nodeagent_volume_leases",
        "Leases of volumes that this node has in the cluster.",
        [("", cluster.leases)],
    )
    yield gauge(
        "nodeagent_volume_lease_margin_seconds",
        "Time until writers here are stopped unless a lease is renewed; 0 or less: they are.",
        [("", cluster.lease_margin_s)],
    )
    yield counter(
        "nodeagent_volume_lease_losses_total",
        "Writers that were stopped because their lease was not renewed, or was another's.",
        [("", cluster.lease_losses)],
    )
    yield counter(
        "nodeagent_volume_lease_renewal_failures_total",
        "Renewals of leases of volumes that failed.",
        [("", cluster.lease_renewal_failures)],
    )


def _peers(peers: Sequence[PeerSample]) -> Iterator[Family]:
    of = [(labels(id=each.id[:12], node=each.node), each) for each in peers]
    yield gauge(
        "nodeagent_encryption_handshake_age_seconds",
        "Time since the last handshake with a node; absent before the first.",
        [(key, each.handshake_age_s) for key, each in of if each.handshake_age_s >= 0],
    )
    yield gauge(
        "nodeagent_encryption_proof_age_seconds",
        "Time since a known packet for a node was seen to leave encrypted; absent before that.",
        [(key, each.proof_age_s) for key, each in of if each.proof_age_s >= 0],
    )
    yield counter(
        "nodeagent_encryption_received_bytes_total",
        "Encrypted bytes from a node.",
        [(key, each.rx_bytes) for key, each in of],
    )
    yield counter(
        "nodeagent_encryption_sent_bytes_total",
        "Encrypted bytes to a node.",
        [(key, each.tx_bytes) for key, each in of],
    )

"""Metrics of a cluster."""

from nodeagent.metrics.cluster import ClusterSample, PeerSample, collect_cluster
from nodeagent.metrics.exposition import render


def text(sample):
    return render(collect_cluster(sample)).decode()


def test_outside_a_cluster_nothing_is_said():
    assert text(None) == ""


def test_what_is_said():
    said = text(
        ClusterSample(
            nodes={"ready": 2},
            is_store_up=False,
            peers=[
                PeerSample(
                    id="1" * 24,
                    node="a",
                    handshake_age_s=3.5,
                    rx_bytes=7,
                    tx_bytes=9,
                    proof_age_s=1.5,
                ),
                PeerSample(id="2" * 24, node="b"),
            ],
            remotes={"app": 12},
            clear_refused=3,
        )
    )
    for line in (
        'nodeagent_cluster_nodes{status="ready"} 2',
        'nodeagent_cluster_nodes{status="down"} 0',
        "nodeagent_cluster_store_up 0",
        "nodeagent_encryption_up 1",
        'nodeagent_encryption_clear_packets_total{direction="in"} 3',
        'nodeagent_encryption_clear_packets_total{direction="out"} 0',
        'nodeagent_encryption_proof_age_seconds{id="111111111111",node="a"} 1.5',
        'nodeagent_overlay_remote_endpoints{network="app"} 12',
        'nodeagent_encryption_handshake_age_seconds{id="111111111111",node="a"} 3.5',
        'nodeagent_encryption_received_bytes_total{id="111111111111",node="a"} 7',
        'nodeagent_encryption_sent_bytes_total{id="222222222222",node="b"} 0',
    ):
        assert line in said.splitlines()
    assert 'age_seconds{id="2' not in said

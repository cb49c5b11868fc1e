from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from nodeagent.metrics.collectors import collect
from nodeagent.metrics.exposition import render
from nodeagent.metrics.samples import ContainerSample, Snapshot
from tests.fakes.metrics_snapshot import Reading, full_snapshot


def values(snapshot):
    """(name, labels) -> value of every sample, as another's parser reads them."""
    text = render(collect(snapshot)).decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


def get(found, metric, /, **labels):
    return found.get((f"nodeagent_{metric}", tuple(sorted(labels.items()))))


def test_everything_has_its_place():
    found = values(full_snapshot())
    web = {"id": "100000000000", "name": "web-1"}
    eth0 = {**web, "interface": "eth0", "network": "demo"}
    data = {"name": "data", "driver": "local"}
    demo = {"id": "abababababab", "name": "demo"}
    assert get(found, "build_info", version="0.1.0", runtime="crun 1.8.1") == 1
    assert get(found, "containers", state="running") == 2
    assert get(found, "containers", state="paused") == 0
    assert get(found, "container_cpu_seconds_total", **web) == 2.5
    assert get(found, "container_memory_usage_bytes", **web) == 10 << 20
    assert get(found, "container_pids", **web) == 3
    assert get(found, "container_blkio_written_bytes_total", **web) == 8192
    assert get(found, "container_network_receive_bytes_total", **eth0) == 7
    assert get(found, "container_network_transmit_dropped_total", **eth0) == 10
    assert get(found, "network_endpoints", driver="bridge", **demo) == 2
    assert get(found, "network_ready_endpoints", **demo) == 1
    assert get(found, "network_receive_bytes_total", **demo) == 7
    assert get(found, "network_addresses_free", subnet="172.18.0.0/16", **demo) == 65531
    assert get(found, "network_addresses_free", subnet="fd00::/64", **demo) == 2.0**64
    assert get(found, "volumes", driver="local") == 2
    assert get(found, "volume_used_bytes", **data) == 1 << 20
    assert get(found, "volume_healthy", name="full", driver="image") == 0
    assert get(found, "images") == 4
    assert get(found, "image_store_bytes") == 1 << 30
    assert get(found, "dns_queries_total", result="nxdomain", source="forwarded") == 1
    assert get(found, "dns_response_duration_seconds_bucket", le="+Inf") == 11
    assert get(found, "dns_response_duration_seconds_count") == 11
    assert get(found, "dns_upstream_queries_total", upstream="9.9.9.9", outcome="timeout") == 1
    both = {"upstream": "container", "le": "0.1"}
    assert get(found, "dns_upstream_duration_seconds_bucket", **both) == 3
    assert get(found, "dns_upstream_duration_seconds_sum", upstream="9.9.9.9") == 0.5
    assert get(found, "dns_dropped_total", reason="sandbox") == 3
    assert get(found, "dns_cache_entries") == 17
    assert get(found, "drift_repairs_total", kind="link") == 2


def test_what_is_not_known_is_left_out():
    found = values(full_snapshot())
    huge = {"name": "huge", "driver": "local"}
    assert get(found, "volume_used_bytes", **huge) is None
    assert get(found, "volume_healthy", **huge) == 1
    unknown = Reading(memory_limit_bytes=0, pids_limit=-1, blkio_read_bytes=-1, oom_events=0)
    sample = ContainerSample(id="c" * 64, name="x", usage=unknown)
    gone = ContainerSample(id="d" * 64, name="gone", usage=None)
    found = values(replace(full_snapshot(), containers=[sample, gone]))
    x = {"id": "c" * 12, "name": "x"}
    assert get(found, "container_memory_limit_bytes", **x) is None
    assert get(found, "container_pids_limit", **x) is None
    assert get(found, "container_blkio_read_bytes_total", **x) is None
    assert get(found, "container_oom_events_total", **x) == 0
    assert not [key for key in found if ("name", "gone") in key[1]]


def test_an_agent_that_has_nothing_says_so():
    found = values(Snapshot(version="1", runtime=""))
    assert get(found, "containers", state="running") == 0
    assert get(found, "volumes") == 0
    assert get(found, "drift_repairs_total") == 0
    assert get(found, "dns_response_duration_seconds_count") == 0


def test_series_grow_with_the_objects_only():
    one, two, three = (len(values(full_snapshot(number))) for number in (1, 2, 3))
    assert three - two == two - one < 40

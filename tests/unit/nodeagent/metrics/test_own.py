import os

from prometheus_client.parser import text_string_to_metric_families

from nodeagent.metrics.exposition import render
from nodeagent.metrics.own import OwnMetrics


def samples(own):
    text = render(own.collect()).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_calls_are_counted_by_method_and_outcome():
    own = OwnMetrics()
    own.observe_call("container.ls", "ok", 0.002)
    own.observe_call("container.ls", "ok", 0.3)
    own.observe_call("container.ls", "missing", 100)
    found = samples(own)
    assert found["nodeagent_rpc_calls_total", "container.ls", "ok"] == 2
    assert found["nodeagent_rpc_calls_total", "container.ls", "missing"] == 1
    assert found["nodeagent_rpc_duration_seconds_bucket", "container.ls", "0.0025"] == 1
    assert found["nodeagent_rpc_duration_seconds_bucket", "container.ls", "+Inf"] == 3
    assert found["nodeagent_rpc_duration_seconds_count", "container.ls"] == 3


def test_callers_are_counted_by_role_and_clients_by_how_they_were_met():
    own = OwnMetrics()
    own.observe_role("reader", "refused")
    own.observe_meeting("expired")
    own.observe_meeting("expired")
    found = samples(own)
    assert found["nodeagent_rpc_role_calls_total", "reader", "refused"] == 1
    assert found["nodeagent_rpc_tcp_connections_total", "expired"] == 2


def test_the_process_is_described():
    found = samples(OwnMetrics())
    assert found["nodeagent_process_resident_memory_bytes",] > 1 << 20
    assert found["nodeagent_process_open_fds",] >= 3
    assert 0 < found["nodeagent_process_cpu_seconds_total",] <= sum(os.times()[:2]) + 0.1


def test_no_created_series_and_no_shared_state():
    one, two = OwnMetrics(), OwnMetrics()
    one.observe_call("a.b", "ok", 1)
    assert not [key for key in samples(one) if key[0].endswith("_created")]
    assert not [key for key in samples(two) if "a.b" in key]

"""What a scrape says of logs."""

from nodeagent.metrics.exposition import render
from nodeagent.metrics.logs import LogSample, ShipmentSample, collect_logs


def lines_of(sample):
    text = render(collect_logs(sample)).decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_every_reason_is_there_from_the_first_scrape_on():
    assert lines_of(LogSample(size_bytes=7, budget_bytes=9, rotations=2, dropped={"age": 1})) == [
        "nodeagent_logs_bytes 7",
        "nodeagent_logs_budget_bytes 9",
        "nodeagent_log_rotations_total 2",
        'nodeagent_log_dropped_files_total{reason="age"} 1',
        'nodeagent_log_dropped_files_total{reason="budget"} 0',
    ]


def test_no_budget_is_no_sample():
    assert not [line for line in lines_of(LogSample()) if "budget_bytes" in line]


def test_each_shipped_container_has_its_collector():
    shipment = ShipmentSample(
        id="a" * 64, name="web", driver="syslog", is_failing=True, lines=9, lost=2, failures=3
    )
    of = '{id="aaaaaaaaaaaa",name="web",driver="syslog"}'
    assert lines_of(LogSample(shipments=[shipment]))[-4:] == [
        f"nodeagent_log_collector_up{of} 0",
        f"nodeagent_log_shipped_lines_total{of} 9",
        f"nodeagent_log_ship_failures_total{of} 3",
        f"nodeagent_log_ship_lost_files_total{of} 2",
    ]

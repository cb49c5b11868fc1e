"""What a scrape says of volumes and drivers."""

from nodeagent.metrics.exposition import render
from nodeagent.metrics.volumes import VolumeCalls, VolumeSample, collect_volumes


def test_what_hangs_is_seen():
    volumes = [
        VolumeSample(name="a", driver="nfs", used_bytes=-1, healthy=False, mounts=2, breaker="open")
    ]
    calls = [VolumeCalls(driver="nfs", operation="usage", result="timeout", calls=3, seconds=15.0)]
    lines = render(collect_volumes(volumes, calls)).decode().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        'nodeagent_volumes{driver="nfs"} 1',
        'nodeagent_volume_healthy{name="a",driver="nfs"} 0',
        'nodeagent_volume_mounts{name="a",driver="nfs"} 2',
        'nodeagent_volume_breaker{name="a",driver="nfs"} 2',
        'nodeagent_volume_driver_calls_total{driver="nfs",operation="usage",result="timeout"} 3',
        "nodeagent_volume_driver_seconds_total"
        '{driver="nfs",operation="usage",result="timeout"} 15.0',
    ]

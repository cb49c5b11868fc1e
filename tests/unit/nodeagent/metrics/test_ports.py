"""What a scrape says of published ports."""

from nodeagent.metrics.exposition import render
from nodeagent.metrics.ports import PortSample, collect_ports


def test_every_protocol_is_there_from_the_first_scrape_on():
    text = render(collect_ports(PortSample(published={"tcp": 3}, unheld=1, conflicts=2))).decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines == [
        'nodeagent_published_ports{protocol="tcp"} 3',
        'nodeagent_published_ports{protocol="udp"} 0',
        'nodeagent_published_ports{protocol="sctp"} 0',
        "nodeagent_published_ports_unheld 1",
        "nodeagent_port_conflicts_total 2",
    ]

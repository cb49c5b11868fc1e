"""What /metrics says of published ports. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from nodeagent.metrics.exposition import Family, counter, gauge, labels


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSample:
    """Published ports by protocol, those that are not held, and conflicts so far."""

    published: Mapping[str, int] = field(default_factory=dict)
    unheld: int = 0
    conflicts: int = 0


def collect_ports(ports: PortSample) -> Iterator[Family]:
    """The families of published ports."""
    by_protocol = {**dict.fromkeys(("tcp", "udp", "sctp"), 0), **ports.published}
    yield gauge(
        "nodeagent_published_ports",
        "Host ports that lead to containers, one a host address, by protocol.",
        [(labels(protocol=protocol), count) for protocol, count in by_protocol.items()],
    )
    yield gauge(
        "nodeagent_published_ports_unheld",
        "Published ports that something else on the host has, or could take.",
        [("", ports.unheld)],
    )
    yield counter(
        "nodeagent_port_conflicts_total",
        "Host ports that could not be had because somebody has them.",
        [("", ports.conflicts)],
    )

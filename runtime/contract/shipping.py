"""Where logs are shipped to, as data and Protocols. Paths are host paths."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from runtime.contract.logs import LogLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a collector listens: ``unix`` is a stream, ``unixgram`` datagrams."""

    kind: Literal["udp", "tcp", "tls", "unix", "unixgram"]
    host: str = ""
    port: int = 0
    path: str = ""
    ca_file: str = ""  # tls: "" = the host's authorities
    cert_file: str = ""  # ours
    key_file: str = ""
    verify: bool = True

    def __str__(self) -> str:
        return f"{self.kind}://{self.path or f'{self.host}:{self.port}'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyslogTarget:
    """A syslog server: RFC 5424, or the form in which programs of this host write to /dev/log."""

    endpoint: Endpoint
    facility: int = 3  # daemon
    local: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FluentdTarget:
    """A server of Fluentd's forward protocol, version 1."""

    endpoint: Endpoint
    acks: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class JournaldTarget:
    """The host's journal."""

    path: str = "/run/systemd/journal/socket"


Target = SyslogTarget | FluentdTarget | JournaldTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whose lines they are."""

    host: str
    container_id: str
    container_name: str
    image_name: str
    tag: str
    attributes: Mapping[str, str] = field(default_factory=dict)


class Sink(Protocol):
    """An open way to a collector."""

    async def send(self, lines: Sequence[LogLine]) -> None:
        """Return when the collector has them, as far as its protocol can tell.

        Raises:
            Unavailable: some of them may not have arrived; open another sink and send all again.
        """


OpenSink = Callable[[Target, Origin], AbstractAsyncContextManager[Sink]]

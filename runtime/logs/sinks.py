"""Sinks: a collector's words over a wire."""

import base64
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from runtime.contract.logs import LogLine
from runtime.contract.shipping import (
    Endpoint,
    FluentdTarget,
    JournaldTarget,
    Origin,
    Sink,
    SyslogTarget,
    Target,
)
from runtime.logs import fluentd, journald, syslog
from runtime.logs.wire import Wire, open_wire

DATAGRAMS: Final = {"udp", "unixgram"}
CHUNK_BYTES: Final = 16  # of a chunk's name


class SyslogSink:
    """RFC 5424, framed on streams."""

    def __init__(self, wire: Wire, target: SyslogTarget, origin: Origin) -> None:
        self._wire = wire
        self._is_datagrams = target.endpoint.kind in DATAGRAMS
        self._messages = syslog.Messages(origin, facility=target.facility, local=target.local)

    async def send(self, lines: Sequence[LogLine]) -> None:
        messages = [each for line in lines for each in self._messages.build(line)]
        if self._is_datagrams:
            for message in messages:
                await self._wire.send(message)
        else:
            await self._wire.send(b"".join(map(syslog.frame, messages)))
        await self._wire.settle()


class FluentdSink:
    """The forward protocol; what is acknowledged has arrived."""

    def __init__(self, wire: Wire, target: FluentdTarget, origin: Origin) -> None:
        self._wire = wire
        self._target = target
        self._origin = origin
        self._answers = fluentd.Answers()

    async def send(self, lines: Sequence[LogLine]) -> None:
        name = base64.b64encode(secrets.token_bytes(CHUNK_BYTES)).decode()
        chunk = name if self._target.acks else ""
        await self._wire.send(fluentd.build_forward(lines, self._origin, chunk=chunk))
        if not chunk:
            await self._wire.settle()
            return
        while not self._answers.feed(await self._wire.receive(), chunk):
            pass


class JournaldSink:
    """The journal's own protocol; a datagram it took is in its queue."""

    def __init__(self, wire: Wire, origin: Origin) -> None:
        self._wire = wire
        self._origin = origin

    async def send(self, lines: Sequence[LogLine]) -> None:
        for line in lines:
            for entry in journald.build_entries(line, self._origin):
                await self._wire.send(entry)


@asynccontextmanager
async def open_sink(target: Target, origin: Origin) -> AsyncIterator[Sink]:
    """Connect to a collector (Unavailable)."""
    match target:
        case SyslogTarget():
            async with open_wire(target.endpoint) as wire:
                yield SyslogSink(wire, target, origin)
        case FluentdTarget():
            async with open_wire(target.endpoint) as wire:
                yield FluentdSink(wire, target, origin)
        case JournaldTarget():
            async with open_wire(Endpoint(kind="unixgram", path=target.path)) as wire:
                yield JournaldSink(wire, origin)

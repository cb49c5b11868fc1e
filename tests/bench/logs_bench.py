"""Logs: reading, compressing, and shipping to a rsyslogd. Prints figures, judges nothing.

python tests/bench/logs_bench.py
"""

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parents[2]))

from runtime.contract.logs import Cursor, Query
from runtime.contract.shipping import Endpoint, Origin, SyslogTarget
from runtime.logs import generations, reader
from runtime.logs.sinks import open_sink
from tests.fakes.collectors import open_rsyslog

LINES = 400_000
WORDS = "GET /static/%d.html HTTP/1.1 200 %d 127.0.0.1 curl/8.%d"
ORIGIN = Origin(
    host="bench", container_id="a" * 64, container_name="web", image_name="busybox", tag="web"
)


def write(path: Path) -> int:
    with path.open("w", encoding="ascii") as file:
        for n in range(LINES):
            stamp = f"2026-11-26T12:{n // 7000 % 60:02}:{n // 117 % 60:02}.{n:09}+00:00"
            file.write(f"{stamp} stdout F {WORDS % (n % 977, n * 7919 % 65536, n % 5)}\n")
    return path.stat().st_size


async def batches(path: Path):
    async def ended() -> None:
        await trio.lowlevel.checkpoint()

    return reader.read_batches(
        path,
        Query(after=Cursor(generation=1, offset=0)),
        ended,
        limiter=trio.CapacityLimiter(1),
        wakes=None,
        now_ns=time.time_ns,
    )


async def read(path: Path) -> None:
    async with contextlib.aclosing(await batches(path)) as found:
        async for _ in found:
            pass


async def ship(path: Path, port: int) -> None:
    target = SyslogTarget(endpoint=Endpoint(kind="tcp", host="127.0.0.1", port=port))
    found = await batches(path)
    async with open_sink(target, ORIGIN) as sink, contextlib.aclosing(found):
        async for lines in found:
            await sink.send(lines)


def say(what: str, seconds: float, size: int) -> None:
    rate = f"{size / seconds / 1e6:.0f} MB/s, {LINES / seconds / 1e3:.0f} k lines/s"
    print(f"{what:32} {seconds:6.2f} s  {rate}")


def main() -> None:
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        log = folder / "ctr.log"
        size = write(log)
        print(f"{LINES} lines, {size / 1e6:.0f} MB, {os.cpu_count()} processors")
        begin = time.monotonic()
        trio.run(read, log)
        say("read", time.monotonic() - begin, size)
        with open_rsyslog(folder) as rsyslog:
            begin = time.monotonic()
            trio.run(ship, log, rsyslog.port)
            say("ship to rsyslogd by tcp", time.monotonic() - begin, size)
            rsyslog.stop()
            print(f"{'arrived':32} {len(rsyslog.rows())} lines")
        for level in (0, 1, 2, 3):
            generations.GZIP_LEVEL = level
            copy = folder / f"level{level}"
            copy.write_bytes(log.read_bytes())
            begin = time.monotonic()
            generations.pack(copy)
            say(f"compress, level {level}", time.monotonic() - begin, size)
            share = copy.with_name(copy.name + ".gz").stat().st_size / size
            print(f"{'':32} to {share:.1%}")
        generations.rotate(log)
        generations.pack(log.with_name("ctr.log.1"))
        begin = time.monotonic()
        trio.run(read, log)
        say("read, compressed", time.monotonic() - begin, size)


if __name__ == "__main__":
    main()

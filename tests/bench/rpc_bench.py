"""RPC calls a second and their latency: a minimal server in a child process, a client here.

    python tests/bench/rpc_bench.py [--seconds 2]

Sequential: one call after the other, as a script does. Pipelined: 100 requests a write, answers
read as they come, as an orchestrator may. Stream: items of 100 bytes. The server binds real
handlers behind the real socket; what they do is nothing, so the figures are the RPC's own.
"""

import argparse
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from nodeagent.rpc.protocol import Protocol, Response, build_request
from nodeagent.rpc.schema.container import LogItem
from nodeagent.rpc.schema.shapes import Done
from nodeagent.rpc.server import Entrance, build_server, serve_rpc
from nodeagent.rpc.sync_client import SyncClient

BATCH = 100
ITEMS = 50_000


async def ping(_params, _call):
    return Done()


async def logs(_params, call):
    item = LogItem(stream="stdout", time_ns=0, data=b"x" * 100)
    for _ in range(ITEMS):
        await call.send(item)
    return Done()


async def serve(path):
    async with trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: serve_rpc(
                Entrance(Path(path), group="root"),
                build_server({"system.ping": ping, "container.logs": logs}),
                task_status=task_status,
            )
        )
        sys.stdout.write("ready\n")
        sys.stdout.flush()


def measure_sequential(client, seconds):
    taken, end = [], time.perf_counter() + seconds
    while (before := time.perf_counter()) < end:
        client.call("system.ping")
        taken.append(time.perf_counter() - before)
    taken.sort()
    p50, p99 = statistics.median(taken), taken[int(len(taken) * 0.99)]
    print(
        f"sequential: {len(taken) / seconds:,.0f}/s, p50 {p50 * 1e6:.0f} us, p99 {p99 * 1e6:.0f} us"
    )


def measure_pipelined(sock, seconds):
    """Keep two batches on their way."""
    protocol, done, sent = Protocol(), 0, 0
    start = time.perf_counter()
    while time.perf_counter() < start + seconds:
        while sent - done < 2 * BATCH:
            sock.sendall(build_batch(sent))
            sent += BATCH
        done += sum(isinstance(event, Response) for event in protocol.receive(sock.recv(65536)))
    print(f"pipelined x{BATCH}: {done / (time.perf_counter() - start):,.0f}/s")
    while done < sent:
        done += sum(1 for _ in protocol.receive(sock.recv(65536)))


def build_batch(first):
    return b"".join(build_request(first + n, "system.ping", {}) for n in range(BATCH))


def measure_stream(client, window):
    before = time.perf_counter()
    with client.stream("container.logs", {"name": "x", "window": window}) as stream:
        count = sum(1 for _ in stream)
        stream.result()
    rate = count / (time.perf_counter() - before)
    print(f"stream, window {window}: {rate:,.0f} items/s")


def read_rss_mib(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def measure(path, pid, seconds):
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        client = SyncClient(sock)
        measure_sequential(client, seconds)
        measure_stream(client, 0)
        measure_stream(client, 64)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        measure_pipelined(sock, seconds)
    print(f"server: {read_rss_mib(pid):.1f} MiB resident")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        trio.run(serve, args.serve)
        return
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/s"
        command = [sys.executable, __file__, "--serve", path]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            try:
                server.stdout.readline()
                measure(path, server.pid, args.seconds)
            finally:
                server.kill()


if __name__ == "__main__":
    main()

"""Names: ours, dnsmasq and aardvark-dns under one load, asked by a container; prints, never judges.

    sudo python -m tests.bench.names_bench [--rounds 5] [--seconds 2]

A real agent with one network and four containers. One of them asks for the other three: our
server at 127.0.0.11 through its redirect, the others at the network's gateway address, where
``dnsmasq`` and podman's ``aardvark-dns`` serve the same names. In turns, so that what else the
machine does meets all of them. Then ``system.ping`` calls of the agent, idle and while one
container asks as fast as it can. At last what a change of one container costs where there are
200 networks of five.
"""

import argparse
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from netdrivers.dns.server import DnsServer
from nodeagent.control.directory import Directory
from nodeagent.rpc.sync_client import open_sync_client
from tests.fakes.records import container, endpoint, network
from tests.system.harness.agent import Agent, open_agent
from tests.system.harness.images import build_busybox
from tests.system.harness.namespace import open_namespace, run

PEERS = ("alpha", "beta", "gamma")
ASKS = 1500
SLEEP = ("busybox", "sleep", "100000")
DNSMASQ, AARDVARK = "/usr/sbin/dnsmasq", "/usr/lib/podman/aardvark-dns"
UP_S = 5.0
PINGS_S = 4.0


class Server(NamedTuple):
    label: str
    address: str
    ends: str = ""  # the program that serves; "" = the agent


class Place(NamedTuple):
    """Where it is asked: a container of the agent, and who is on its network."""

    agent: Agent
    gateway: str
    network: str
    addresses: dict[str, str]
    client: list[str]  # how a program gets into the asking container's network


@contextmanager
def open_place() -> Iterator[Place]:
    with (
        open_namespace() as space,
        open_agent(space) as agent,
        tempfile.TemporaryDirectory() as top,
    ):
        tar = Path(top) / "busybox.tar"
        tar.write_bytes(build_busybox())
        agent.cli("image", "import", str(tar), "busybox:latest")
        agent.cli("network", "create", "--subnet", "10.77.0.0/24", "names")
        for name in (*PEERS, "client"):
            agent.cli("run", "-d", "--name", name, "--network", "names", *SLEEP)
        views = {name: agent.inspect("container", name) for name in (*PEERS, "client")}
        addresses = {
            name: view["NetworkSettings"]["Networks"]["names"]["IPAddress"]
            for name, view in views.items()
        }
        inside = ["nsenter", "-t", str(views["client"]["State"]["Pid"]), "-n"]
        yield Place(agent, "10.77.0.1", "names", addresses, inside)


# --- the others -------------------------------------------------------------------------------


@contextmanager
def dnsmasq(place: Place) -> Iterator[None]:
    records = [f"--host-record={name},{ip}" for name, ip in place.addresses.items()]
    argv = [DNSMASQ, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]
    argv += [f"--listen-address={place.gateway}", "--bind-interfaces", "--pid-file", *records]
    child = subprocess.Popen(place.agent.space.argv(*argv), stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        child.terminate()
        child.wait()


@contextmanager
def aardvark(place: Place) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="names-bench-") as top:
        rows = [f"{n:064x} {ip}  {name}" for n, (name, ip) in enumerate(place.addresses.items(), 1)]
        config = Path(top) / place.network
        config.write_text("\n".join([place.gateway, *rows]) + "\n", encoding="ascii")
        argv = [AARDVARK, "--config", top, "--port", "53", "run"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        child = subprocess.Popen(
            place.agent.space.argv(*argv),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **quiet,
        )
        try:
            yield
        finally:
            for pid in processes(top) or [child.pid]:  # it may have gone to the background
                os.kill(pid, signal.SIGTERM)
            child.wait()


def processes(word: str) -> list[int]:
    """Who has ``word`` in its command line, which only our child has."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word in path.read_text("utf-8", "replace").split("\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


# --- asking -----------------------------------------------------------------------------------

LATENCY = """
import socket, sys, time
server, count, names = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(2)
sock.connect((server, 53))
took = []
for n in range(count):
    name = names[n % len(names)].encode()
    head = n.to_bytes(2) + b"\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0"
    query = head + bytes((len(name),)) + name + b"\\0\\0\\1\\0\\1"
    begin = time.perf_counter_ns()
    sock.send(query)
    reply = sock.recv(2048)
    took.append((time.perf_counter_ns() - begin) / 1e3)
    assert reply[:2] == query[:2] and not reply[3] & 15 and reply[6:8] != b"\\0\\0", reply
took.sort()
print(took[len(took) // 2], took[len(took) * 99 // 100])
"""


def rate(place: Place, server: str, seconds: float) -> float:
    """Answers a second under ``dnsperf -c4 -q100``."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="ascii") as queries:
        queries.writelines(f"{name} A\n" for name in PEERS)
        queries.flush()
        asking = ["dnsperf", "-s", server, "-d", queries.name, "-l", str(seconds)]
        out = run([*place.client, *asking, "-c", "4", "-q", "100"]).stdout
    codes = re.search(r"Response codes:\s+(.*)", out)
    assert codes is not None, out
    assert re.fullmatch(r"NOERROR \d+ \(100\.00%\)", codes[1]), out
    found = re.search(r"Queries per second:\s+([\d.]+)", out)
    assert found is not None, out
    return float(found[1])


def latency(place: Place, server: str) -> tuple[float, float]:
    """p50 and p99 in microseconds with one query outstanding."""
    out = run([*place.client, sys.executable, "-c", LATENCY, server, str(ASKS), *PEERS]).stdout
    p50, p99 = map(float, out.split())
    return p50, p99


def wait_up(place: Place, server: str) -> None:
    deadline = time.monotonic() + UP_S
    probe = [*place.client, sys.executable, "-c", LATENCY, server, "1", "alpha"]
    while subprocess.run(probe, capture_output=True).returncode:
        if time.monotonic() > deadline:
            raise AssertionError(f"no answer from {server}")


def pings(agent: Agent) -> list[float]:
    """Milliseconds of ``system.ping`` calls, one after the other."""
    took = []
    with open_sync_client(agent.host) as client:
        end = time.monotonic() + PINGS_S
        while time.monotonic() < end:
            begin = time.perf_counter()
            client.call("system.ping", {})
            took.append((time.perf_counter() - begin) * 1e3)
            time.sleep(0.002)
    return sorted(took)


# --- what is printed --------------------------------------------------------------------------


def measure(place: Place, rounds: int, seconds: float) -> None:
    others: dict[str, tuple[str, Callable[[Place], object]]] = {
        "dnsmasq": (DNSMASQ, dnsmasq), "aardvark-dns": (AARDVARK, aardvark)
    }  # fmt: skip
    rates: dict[str, list[float]] = {}
    halves: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        note(place, "ours", "127.0.0.11", seconds, rates, halves)
        for label, (program, serve) in others.items():
            if not Path(program).exists():
                continue
            with serve(place):  # type: ignore[attr-defined]
                wait_up(place, place.gateway)
                note(place, label, place.gateway, seconds, rates, halves)
    for label in ("ours", *others):
        if label not in rates:
            print(f"{label:<14} not installed")
            continue
        p50, p99 = (statistics.median(each[n] for each in halves[label]) for n in (0, 1))
        ratios = [ours / theirs for ours, theirs in zip(rates["ours"], rates[label], strict=True)]
        print(
            f"{label:<14} {statistics.median(rates[label]):9,.0f} answers/s "
            f"({min(rates[label]):,.0f} to {max(rates[label]):,.0f})   "
            f"one outstanding: p50 {p50:6.1f} us, p99 {p99:6.1f} us   "
            f"ours / {label}: {statistics.median(ratios):.2f}"
        )


def note(
    place: Place,
    label: str,
    server: str,
    seconds: float,
    rates: dict[str, list[float]],
    halves: dict[str, list[tuple[float, float]]],
) -> None:
    rates.setdefault(label, []).append(rate(place, server, seconds))
    halves.setdefault(label, []).append(latency(place, server))


def measure_rpc(place: Place) -> None:
    def show(label: str, took: list[float]) -> None:
        p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
        print(f"system.ping, {label:<22} p50 {p50:.2f} ms, p99 {p99:.2f} ms, n {len(took)}")

    show("idle", pings(place.agent))
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="ascii") as queries:
        queries.writelines(f"{name} A\n" for name in PEERS)
        queries.flush()
        asking = ["dnsperf", "-s", "127.0.0.11", "-d", queries.name, "-l", str(PINGS_S + 1)]
        load = subprocess.Popen(
            [*place.client, *asking, "-c", "4", "-q", "100"], stdout=subprocess.DEVNULL
        )
        time.sleep(0.5)  # dnsperf is under way by then
        show("while names are asked", pings(place.agent))
        load.wait()


def measure_changes() -> None:
    """One of 1,000 containers gets another name: the table, and its swap in the server."""
    networks = {each.id: each for each in (network(f"{n:064x}", name=f"n{n}") for n in range(200))}
    places = [(n, k, f"{1000 + n * 5 + k:064x}") for n in range(200) for k in range(5)]
    records = {
        id_: container(
            id_,
            name=f"c{n}-{k}",
            endpoints={f"{n:064x}": endpoint(f"{n:064x}", f"10.{n}.0.{k + 2}/24")},
        )
        for n, k, id_ in places
    }
    directory, server = Directory(), DnsServer()
    begin = time.perf_counter()
    server.set_table(directory.update(networks, records, (), ()))
    whole_ms = (time.perf_counter() - begin) * 1e3
    with open_namespace() as space:
        for id_ in records:
            server.open(id_, space.path, 0)
        took = []
        for n, (_, _, id_) in enumerate(places[::5]):
            records[id_] = msgspec.structs.replace(records[id_], name=f"other{n}")
            begin = time.perf_counter()
            server.set_table(directory.update(networks, records, (), ()))
            took.append((time.perf_counter() - begin) * 1e3)
        for id_ in records:
            server.close(id_)
    print(
        f"1,000 endpoints: all names at once {whole_ms:.1f} ms, "
        f"after one change p50 {statistics.median(took):.2f} ms, max {max(took):.2f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    args = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two sockets of each sandbox
    with open_place() as place:
        measure(place, args.rounds, args.seconds)
        measure_rpc(place)
    measure_changes()


if __name__ == "__main__":
    main()

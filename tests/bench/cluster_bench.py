"""What a cluster costs as it grows, and how soon another host answers.

Run as root: ``python -m tests.bench.cluster_bench [nodes|memory|connect]...`` (all without words).

nodes: agents without containers, in this process, on one real etcd: each has its own connection and
follows nodes, networks and one network's endpoints as an agent does. All of them share this one
thread, so times are those of N agents on one core; the work for each agent is what to compare.
memory: a real agent that is told of endpoints on other nodes.
connect: from ``network connect`` on one host to the first answer from another.
"""

import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import trio

from nodeagent.cluster.etcd.client import open_client
from nodeagent.cluster.etcdstore import EtcdStore
from nodeagent.cluster.mirror import Mirror
from nodeagent.errors import Unavailable
from nodeagent.model.cluster import EndpointRow, NodeSelf
from nodeagent.state.store import Put
from tests.fakes.etcd import client_of, running_members
from tests.system.harness.cluster import Hosts, open_hosts, wait_for

SIZES, CHANGES, STEADY_S, BEAT_S = (50, 100, 200), 20, 10.0, 2.0
ENDPOINTS = (1_000, 5_000)
ROUNDS = 20
KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="


def encode(value: object) -> bytes:
    return msgspec.msgpack.encode(value)


def endpoint(n: int) -> EndpointRow:
    return EndpointRow(
        container=f"c{n}", mac=f"02:42:{n >> 16:02x}:{n >> 8 & 255:02x}:{n & 255:02x}:01",
        addresses=[f"10.{64 + (n >> 16)}.{n >> 8 & 255}.{n & 255}"],
        names=[f"c{n}", f"{n:012x}"],
    )  # fmt: skip


# --- nodes ---------------------------------------------------------------------------------------


class Node:
    """What an agent without containers holds of a cluster."""

    def __init__(self, n: int, store: EtcdStore) -> None:
        self.id, self.store = f"{n:024x}", store
        self.nodes = Mirror(store, "node/", self._tell)
        self.eps = Mirror(store, "ep/x/", self._tell)
        self.others = [Mirror(store, "network/"), Mirror(store, "trust")]
        self.seen = trio.Event()
        self.late = 0  # renewals that were not answered in time

    def _tell(self) -> None:
        self.seen.set()
        self.seen = trio.Event()

    async def look(self) -> None:
        """What an agent does when it is woken, however often in between."""
        while True:
            await self.seen.wait()
            self.nodes.decoded(NodeSelf, "/self")
            self.eps.decoded(EndpointRow)

    async def run(self, nursery: trio.Nursery) -> None:
        for mirror in (self.nodes, self.eps, *self.others):
            nursery.start_soon(mirror.run)
            await mirror.synced.wait()
        row = NodeSelf(address="192.0.2.1", version="1", key=KEY)
        await self.insist(lambda: self.store.commit(Put(f"node/{self.id}/self", encode(row))))
        nursery.start_soon(self.beat)
        nursery.start_soon(self.look)

    async def insist(self, act: Callable[[], Awaitable[int]]) -> int:
        while True:
            try:
                return await act()
            except Unavailable:  # as an agent: later
                await trio.sleep(1)

    async def beat(self) -> None:
        lease = await self.insist(
            lambda: self.store.grant(600)
        )  # late renewals are counted instead
        alive = Put(f"node/{self.id}/alive", b"", lease=lease)
        await self.insist(lambda: self.store.commit(alive))
        while True:
            try:
                await self.store.renew(lease)
            except Unavailable:  # one core has the work of all of them
                self.late += 1
            await trio.sleep(BEAT_S)

    async def until(self, holds) -> None:
        while not holds():
            await self.seen.wait()


async def all_until(nodes: list[Node], holds) -> float:
    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(node.until, lambda node=node: holds(node))
    return time.perf_counter() - began


async def simulate(folder: Path, count: int) -> None:
    async with running_members(folder) as cluster, AsyncExitStack() as stack:
        await stack.enter_async_context(client_of(cluster))
        context = cluster.context()
        clients = [
            await stack.enter_async_context(open_client(cluster.addresses, lambda: context))
            for _ in range(count)
        ]
        nodes = [Node(n, EtcdStore(client)) for n, client in enumerate(clients)]
        async with trio.open_nursery() as nursery:
            began, cpu = time.perf_counter(), time.process_time()
            async with trio.open_nursery() as joining:
                for node in nodes:
                    joining.start_soon(node.run, nursery)
            await all_until(nodes, lambda node: len(node.nodes.rows) == 2 * count)
            joined, join_cpu = time.perf_counter() - began, time.process_time() - cpu
            took, cpu = [], time.process_time()
            for n in range(CHANGES):
                key = f"{nodes[0].id}/{n}"
                began = time.perf_counter()
                await nodes[0].store.commit(Put(f"ep/x/{key}", encode(endpoint(n))))
                await all_until(nodes, lambda node, key=key: key in node.eps.rows)
                took.append(time.perf_counter() - began)
            change_cpu = (time.process_time() - cpu) / CHANGES
            cpu = time.process_time()
            await trio.sleep(STEADY_S)
            steady = (time.process_time() - cpu) / STEADY_S
            nursery.cancel_scope.cancel()
    print(
        f"{count:4} nodes: all know all after {joined:5.2f} s ({join_cpu / count * 1e3:6.1f} ms CPU"
        f" a node); a change is known to all after {statistics.median(took) * 1e3:5.1f} ms, worst"
        f" {max(took) * 1e3:5.1f} ({change_cpu / count * 1e6:4.0f} us CPU a node);"
        f" at rest {steady / count * 1e3:5.2f} ms CPU a second and node,"
        f" {sum(node.late for node in nodes)} renewals late"
    )


async def nodes() -> None:
    for count in SIZES:
        with tempfile.TemporaryDirectory(prefix="nb-") as folder:
            await simulate(Path(folder), count)


# --- memory --------------------------------------------------------------------------------------


def pss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


async def fill(folder: str, address: str, prefix: str, first: int, last: int) -> None:
    """Tell of endpoints, with a manager's certificate; run in the manager's namespace."""

    def context() -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=f"{folder}/ca.crt")
        made.load_cert_chain(f"{folder}/node.crt", f"{folder}/node.key")
        made.set_alpn_protocols(["h2"])
        return made

    async with open_client([(address, 2379)], context) as client:
        store = EtcdStore(client)
        rows = [Put(f"{prefix}{n}", encode(endpoint(n))) for n in range(first, last)]
        for at in range(0, len(rows), 500):
            await store.commit(*rows[at : at + 500])


def memory(tar: Path) -> None:
    with open_hosts(2, tar) as hosts:
        hosts.form("worker")
        first, second = hosts.agents
        first.cli("network", "create", "-d", "overlay", "--subnet", "10.64.0.0/12", "big")
        wait_for(lambda: any(row["Name"] == "big" for row in second.rows("network")))
        first.cli("run", "-d", "--name", "a", "--network", "big", "busybox", "sleep", "9999")
        network = first.inspect("network", "big")["Id"]
        link = f"vx-{network[:12]}"
        other = json.loads((second.root / "cluster" / "self.json").read_text())["node_id"]
        time.sleep(3)
        before, filled = pss_kib(first.pid), 2
        for count in ENDPOINTS:
            words = [str(first.root / "cluster"), hosts.lab.address(0), f"ep/{network}/{other}/"]
            began = time.perf_counter()
            subprocess.run(
                [*hosts.lab.enter(hosts.lab.hosts[0]), sys.executable, "-m",
                 "tests.bench.cluster_bench", "fill", *words, str(filled), str(count)],
                check=True,
            )  # fmt: skip
            while told(hosts, link) < count - 2:
                time.sleep(0.5)  # to read the table holds the kernel's one lock: not too often
            took, filled = time.perf_counter() - began, count
            now = pss_kib(first.pid)
            print(
                f"{count:5} remote endpoints: in the kernel {took:.2f} s after the first was told;"
                f" PSS {before / 1024:.1f} -> {now / 1024:.1f} MiB,"
                f" {(now - before) / 1024 / count * 1000:.2f} MiB for 1,000"
            )


def told(hosts: Hosts, link: str) -> int:
    return hosts.inside(0, f"bridge fdb show dev {link}").count(" dst ")


# --- connect -------------------------------------------------------------------------------------

PING = """
import socket, struct, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP); s.settimeout(0.005)
print("ready", flush=True)
while True:
    try:  # nobody has the address at first
        s.sendto(struct.pack(">BBHHH", 8, 0, 0xf7fe, 1, 0), (sys.argv[1], 0))
        if s.recv(100)[20] == 0: break
    except OSError: pass
print(time.time(), flush=True)
"""


SUBNETS = {"encrypted": "10.77.0", "clear": "10.78.0"}


def connect(tar: Path) -> None:
    with open_hosts(2, tar) as hosts:
        hosts.form("worker")
        first, second = hosts.agents
        for name, prefix in SUBNETS.items():
            option = f"encrypted={'false' if name == 'clear' else 'true'}"
            first.cli("network", "create", "-d", "overlay", "--opt", option,
                      "--subnet", f"{prefix}.0/24", name)  # fmt: skip
            wait_for(lambda name=name: any(r["Name"] == name for r in second.rows("network")))
            sleep = ("busybox", "sleep", "9999")
            first.cli("run", "-d", "--name", f"a-{name}", "--network", name, *sleep)
            second.cli("run", "-d", "--name", f"b-{name}", *sleep)
            took = sorted(once(first, second, name, n) for n in range(ROUNDS))
            print(
                f"{name}: from `network connect` (the whole command) to the first answer"
                f" p50 {statistics.median(took) * 1e3:.0f} ms,"
                f" p95 {took[int(0.95 * len(took)) - 1] * 1e3:.0f} ms (aim 300)"
            )


def once(first, second, name: str, n: int) -> float:
    address, other = f"{SUBNETS[name]}.{100 + n}", f"b-{name}"
    pid = first.pid_of(f"a-{name}")
    pinger = subprocess.Popen(
        ["nsenter", "-t", str(pid), "-n", sys.executable, "-c", PING, address],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    pinger.stdout.readline()
    began = time.time()
    second.cli("network", "connect", "--ip", address, name, other)
    answered = float(pinger.stdout.readline())
    pinger.wait()
    second.cli("network", "disconnect", name, other)
    return answered - began


def main(words: list[str]) -> None:
    if words[:1] == ["fill"]:
        trio.run(fill, *words[1:4], int(words[4]), int(words[5]))
        return
    with tempfile.TemporaryDirectory(prefix="nb-") as folder:
        tar = Path(folder) / "busybox.tar"
        make_tar(tar)
        parts = {"nodes": lambda: trio.run(nodes), "memory": lambda: memory(tar),
                 "connect": lambda: connect(tar)}  # fmt: skip
        for word in words or parts:
            parts[word]()


def make_tar(tar: Path) -> None:
    root = tar.parent / "root" / "bin"
    root.mkdir(parents=True)
    (root / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (root / "busybox").chmod(0o755)
    for name in ("sh", "sleep"):
        (root / name).symlink_to("busybox")
    subprocess.run(["tar", "-C", str(root.parent), "-cf", str(tar), "."], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""What a published port costs when it is the first, the 1,000th and the 2,000th; printed only.

Run as root: ``python -m tests.bench.ports_bench``. Everything happens in namespaces of its own.
One by one: a port is a step of its own on one of 200 containers. In one batch: one container
with that many ports. Then the same through an agent: starts of containers with ports.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import trio

from netdrivers.contract.specs import Desired, PublishedPort
from netdrivers.engine import Engine
from netdrivers.kernel.netns import HERE, Libc, open_fd
from nodeagent.rpc.sync_client import SyncClient, open_sync_client
from tests.fakes.world import World, parse_port, scope
from tests.system.harness.agent import open_agent
from tests.system.harness.images import build_busybox
from tests.system.harness.namespace import open_namespace, run

PORTS = 2000
SANDBOXES = 200
FIRST_PORT = 10000
AROUND = 50  # neighbours whose median stands for a place in the row
ROUNDS = 3
EACH = 100  # ports a container, in the agent


def show(name: str, figures: Sequence[float]) -> None:
    """Microseconds a port at 1, 1,000 and 2,000, and the last as a multiple of the first."""
    cells = "".join(f"{figure:>11.0f}" for figure in figures)
    print(f"{name:<44}{cells}{figures[-1] / figures[0]:>9.2f}")


def places(took_us: Sequence[float]) -> list[float]:
    """Medians at the begin, in the middle and at the end of a row."""
    third = len(took_us) // 3
    parts = took_us[:third], took_us[third : 2 * third], took_us[-third:]
    return [statistics.median(part) for part in parts]


def us(begin: float) -> float:
    return (time.perf_counter() - begin) * 1e6


# --- engine -----------------------------------------------------------------------------------


class Bench:
    """Containers of one network in the engine of a namespace of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.world = World()
        self.net = self.world.network("a", "10.1.0.0/16")

    def add(self, name: str, number: int, ports: range = range(0)) -> None:
        texts = (f"tcp:127.0.0.1:{port}:{port}" for port in ports)
        self.world.container(name, self.net, number, *texts)

    def endpoint(self, name: str) -> str:
        return next(id_ for id_, each in self.world.endpoints.items() if each.sandbox_id == name)

    def ports(self, name: str) -> tuple[PublishedPort, ...]:
        ports: tuple[PublishedPort, ...] = self.world.endpoints[self.endpoint(name)].ports
        return ports

    def give(self, name: str, number: int) -> PublishedPort:
        """One more port for a container."""
        id_ = self.endpoint(name)
        before = self.world.endpoints[id_]
        inner = before.addresses[0].ip
        port = parse_port(f"tcp:127.0.0.1:{FIRST_PORT + number}:80", {4: inner})
        self.world.endpoints[id_] = replace(before, ports=(*before.ports, port))
        return port

    async def apply(self, name: str) -> None:
        """As the agent does: what is built is the container at hand."""
        there = name in self.world.sandboxes
        id_ = self.endpoint(name) if there else ""
        desired = Desired(
            networks=self.world.networks,
            sandboxes={name: self.world.sandboxes[name]} if there else {},
            endpoints={id_: self.world.endpoints[id_]} if there else {},
        )
        await self.engine.apply(desired, scope(name))


async def one_by_one(bench: Bench) -> None:
    """The fifty ports at each of three places; what is between them goes in bigger steps."""
    names = [f"s{number:03}" for number in range(SANDBOXES)]
    await bench.engine.apply(bench.world.desired, None)
    for number, name in enumerate(names, start=2):
        bench.add(name, number)
        await bench.apply(name)
    held, published = [], []
    done = 0
    for place in (0, (PORTS - AROUND) // 2, PORTS - AROUND):
        await fill(bench, names, range(done, place))
        done = place + AROUND
        rows = [await one(bench, names, number) for number in range(place, done)]
        held.append(statistics.median(row[0] for row in rows))
        published.append(statistics.median(row[1] for row in rows))
    show("hold, one by one", held)
    show("publish, one by one", published)
    await remove_all(bench, names)


async def fill(bench: Bench, names: Sequence[str], numbers: range) -> None:
    for at in range(SANDBOXES):
        ports = [bench.give(names[number % SANDBOXES], number) for number in numbers[at::SANDBOXES]]
        if ports:
            await bench.engine.hold_ports(ports)
            await bench.apply(names[numbers[at] % SANDBOXES])


async def one(bench: Bench, names: Sequence[str], number: int) -> tuple[float, float]:
    name = names[number % SANDBOXES]
    port = bench.give(name, number)
    begin = time.perf_counter()
    await bench.engine.hold_ports([port])
    held = us(begin)
    begin = time.perf_counter()
    await bench.apply(name)
    return held, us(begin)


async def remove_all(bench: Bench, names: Sequence[str]) -> None:
    gone, released = [], []
    for name in names:
        ports = bench.ports(name)
        bench.world.remove(name)
        begin = time.perf_counter()
        await bench.apply(name)
        gone.append(us(begin) / len(ports))
        begin = time.perf_counter()
        bench.engine.release_ports(ports)
        released.append(us(begin) / len(ports))
    show("unpublish with the container of ten", places(gone))
    show("release", places(released))


async def in_one_batch(bench: Bench) -> None:
    held: list[float] = []
    published: list[float] = []
    again: list[float] = []
    for count in (1, PORTS // 2, PORTS):
        # means, as those of many ports are: a pause of ours is in each of them
        rounds = [await batch(bench, count) for _ in range(ROUNDS if count > 1 else AROUND)]
        for figures, values in zip(
            (held, published, again), zip(*rounds, strict=True), strict=True
        ):
            figures.append(statistics.fmean(values))
    show("hold, in one batch", held)
    show("publish, in one batch, with its container", published)
    show("look again, nothing to do", again)


async def batch(bench: Bench, count: int) -> tuple[float, float, float]:
    """Microseconds a port."""
    bench.add("big", 2, range(FIRST_PORT, FIRST_PORT + count))
    ports, took = bench.ports("big"), []
    begin = time.perf_counter()
    await bench.engine.hold_ports(ports)
    took.append(us(begin) / count)
    for _ in range(2):
        begin = time.perf_counter()
        await bench.apply("big")
        took.append(us(begin) / count)
    bench.engine.release_ports(ports)
    bench.world.remove("big")
    await bench.apply("big")
    return took[0], took[1], took[2]


async def measure_engine(top: Path) -> None:
    engine = Engine(top, agent_id="bench")
    await engine.open()
    try:
        bench = Bench(engine)
        await one_by_one(bench)
        await in_one_batch(bench)
    finally:
        await engine.apply(Desired(), None)
        await engine.close()


def alone(work: Callable[[Path], None]) -> None:
    """Run it in a network namespace of its own."""
    libc, home = Libc(), open_fd(HERE)
    libc.unshare()
    run(["ip", "link", "set", "lo", "up"])
    try:
        with tempfile.TemporaryDirectory(prefix="nt-ports-") as top:
            work(Path(top))
    finally:
        libc.setns(home)


# --- agent ------------------------------------------------------------------------------------


def start(client: SyncClient, name: str, ports: range) -> float:
    """Microseconds of the start of a container that publishes them."""
    bindings = [
        {"container_port": port, "host_port": port, "host_ip": "127.0.0.1"} for port in ports
    ]
    params = {"image": "busybox", "name": name, "cmd": ["sleep", "1000"], "ports": bindings}
    client.call("container.create", params)
    begin = time.perf_counter()
    client.call("container.start", {"name": name})
    return us(begin)


def measure_agent() -> None:
    with open_namespace() as space, open_agent(space) as agent:
        with tempfile.NamedTemporaryFile(suffix=".tar") as tar:
            tar.write(build_busybox())
            tar.flush()
            agent.cli("image", "import", tar.name, "busybox")
        with open_sync_client(agent.host) as client:
            none = statistics.median(start(client, f"n{n}", range(0)) for n in range(ROUNDS))
            print(f"start of a container without ports: {none / 1e3:.0f} ms")
            took = []
            for number in range(PORTS // EACH):
                first = FIRST_PORT + number * EACH
                took.append(start(client, f"c{number}", range(first, first + EACH)) - none)
            parts = took[:5], took[8:13], took[-5:]
            show(f"agent: {EACH} ports a start", [statistics.median(p) / EACH for p in parts])
            listed = json.dumps(client.call("port.ls", {}))
            print(f"port ls of {PORTS}: {len(listed)} bytes of JSON")
            for number in range(PORTS // EACH):
                client.call("container.rm", {"name": f"c{number}", "force": True})
            counts = (1, PORTS // 2, PORTS)
            spans = [range(FIRST_PORT, FIRST_PORT + count) for count in counts]
            figures = []
            for number, span in enumerate(spans):
                figures.append((start(client, f"b{number}", span) - none) / len(span))
                client.call("container.rm", {"name": f"b{number}", "force": True})
            one, half, full = figures
            print(f"agent: one start, us a port: 1,000 ports {half:.0f}, 2,000 ports {full:.0f}")
            print(f"agent: one start with one port: {one / 1e3:+.1f} ms over one without")
        agent.remove_all()


def main() -> None:
    begin = time.perf_counter()
    print(f"{'us a port':<44}{'first':>11}{'1,000th':>11}{'2,000th':>11}{'ratio':>9}")
    alone(lambda top: trio.run(measure_engine, top))
    measure_agent()
    print(f"took {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()

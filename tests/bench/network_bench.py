"""What networks cost: connect, disconnect, create, rm and an idle look at 1,000 endpoints.

Run as root: ``python -m tests.bench.network_bench``. One process, in network namespaces of its own.
The raw figures are the same kernel work by a minimal script in the same run, in turns with ours:
a pair with one end in the sandbox, marked, on the bridge, an address, a default route.
"""

import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_interface, ip_network
from pathlib import Path
from socket import NETLINK_ROUTE

import trio

from netdrivers.contract.specs import Desired, EndpointSpec, NetworkSpec
from netdrivers.engine import Engine
from netdrivers.kernel import codec, ipcodec
from netdrivers.kernel.codec import LinkChange
from netdrivers.kernel.ipcodec import RouteInfo
from netdrivers.kernel.netlink import Netlink
from netdrivers.kernel.netns import Libc, Namespaces, open_fd
from tests.fakes.world import World, scope

ROUNDS = 40
NETWORKS, MEMBERS = 200, 5
CHANGES = 1000
LOOKS = 5
AIM_CONNECT_MS, AIM_DISCONNECT_MS, AIM_NETWORK_MS, AIM_IDLE_MS = 5, 10, 10, 300


def show(name: str, values_ms: list[float], aim: str = "") -> float:
    ordered = sorted(values_ms)
    middle = statistics.median(ordered)
    worst = ordered[-1 - len(ordered) // 10]
    print(f"{name:<58} {middle:8.2f} ms  (p90 {worst:.2f}, n {len(ordered)}{aim})")
    return middle


async def timed_ms(work: Callable[[], Awaitable[object]]) -> float:
    begin = time.perf_counter()
    await work()
    return (time.perf_counter() - begin) * 1e3


# --- raw --------------------------------------------------------------------------------------


class Raw:
    """One endpoint by hand, over sockets that are open already."""

    def __init__(self, bridge: str, sandbox: Path) -> None:
        self._ns = open_fd(sandbox)
        self._host = Netlink(NETLINK_ROUTE)
        with Namespaces().inside(self._ns):
            self._inside = Netlink(NETLINK_ROUTE)
        self._bridge = self._index(self._host, bridge)

    def _index(self, netlink: Netlink, name: str) -> int:
        (reply,) = netlink.ask([codec.get_link(name)])
        return codec.parse_link(reply.messages[0][1]).index

    def connect(self) -> None:
        mac = "02:42:00:00:ff:01"
        made = codec.add_veth("veraw", peer="eth0", peer_ns=self._ns, mac=mac, mtu_bytes=1500)
        mark = LinkChange(alias="raw", master=self._bridge, ipv6=False, up=True)
        self._check(self._host, [made, *codec.set_link("veraw", mark)])
        self._check(
            self._inside, codec.set_link("eth0", LinkChange(alias="raw", ipv6=False, up=True))
        )
        index = self._index(self._inside, "eth0")
        route = RouteInfo(
            to=ip_network("0.0.0.0/0"), via=ip_interface("10.200.0.1/24").ip, index=index,
            table=ipcodec.RT_TABLE_MAIN, protocol=ipcodec.OUR_PROTOCOL,
        )  # fmt: skip
        address = ipcodec.add_address(index, ip_interface("10.200.0.99/24"))
        self._check(self._inside, [address, ipcodec.add_route(route, replace=False)])

    def disconnect(self) -> None:
        self._check(self._host, [codec.delete_link("veraw")])

    def _check(self, netlink: Netlink, requests: list[codec.Request]) -> None:
        for reply in netlink.ask(requests):
            assert reply.errno == 0, reply.text


async def bench_endpoint(engine: Engine, run: Path) -> None:
    world = World()
    net = world.network("a", "10.200.0.0/24")
    await engine.apply(world.desired, scope(networks=(net,)))
    bare = Desired(networks=world.desired.networks)
    path = await engine.make_sandbox("raw")
    raw = Raw(f"br-{net.id[:12]}", path)
    found: dict[str, list[float]] = {"raw +": [], "raw -": [], "+": [], "-": []}
    for _ in range(ROUNDS):
        for step, work in (("raw +", raw.connect), ("raw -", raw.disconnect)):
            begin = time.perf_counter()
            work()
            found[step].append((time.perf_counter() - begin) * 1e3)
        world.container("c", net, 9)
        joined = world.desired
        left = Desired(networks=joined.networks, sandboxes=joined.sandboxes)
        await engine.apply(left, scope("c"))
        found["+"].append(await timed_ms(lambda d=joined: engine.apply(d, scope("c"))))
        found["-"].append(await timed_ms(lambda d=left: engine.apply(d, scope("c"))))
        world.remove("c")
    least = show("connect, raw netlink", found["raw +"])
    ours = show("connect, ours", found["+"], f", aim {AIM_CONNECT_MS}")
    print(f"{'connect, ours over raw':<58} {ours / least:8.2f}     (aim 3)")
    show("disconnect, raw netlink (waits for the kernel's clean-up)", found["raw -"])
    show("disconnect, ours (gone and looked at again)", found["-"], f", aim {AIM_DISCONNECT_MS}")
    await engine.apply(bare, scope("c", "raw"))
    await engine.apply(Desired(), None)


def raw_bridge(netlink: Netlink) -> tuple[float, float]:
    """Milliseconds to make and to delete a bridge that is up."""
    up = codec.set_link("brraw", LinkChange(alias="raw", up=True))
    begin = time.perf_counter()
    netlink.ask([codec.add_bridge("brraw", mac="02:42:00:00:fe:01"), *up])
    made = time.perf_counter()
    netlink.ask([codec.delete_link("brraw")])
    return (made - begin) * 1e3, (time.perf_counter() - made) * 1e3


async def bench_network(engine: Engine) -> None:
    made, gone = [], []
    netlink = Netlink(NETLINK_ROUTE)
    raw = [raw_bridge(netlink) for _ in range(ROUNDS)]
    show("a bridge made, raw netlink", [each for each, _ in raw])
    show("a bridge deleted, raw netlink: the kernel's own wait", [each for _, each in raw])
    world = World()
    keep = world.network("b", "10.201.0.0/24")
    await engine.apply(world.desired, scope(networks=(keep,)))  # the table is there from now on
    for _ in range(ROUNDS):
        net = world.network("c", "10.202.0.0/24")
        made.append(await timed_ms(lambda n=net: engine.apply(world.desired, scope(networks=(n,)))))
        del world.networks[net.id]
        gone.append(await timed_ms(lambda n=net: engine.apply(world.desired, scope(networks=(n,)))))
    show("network create", made, f", aim {AIM_NETWORK_MS}")
    show("network rm", gone, f", aim {AIM_NETWORK_MS}")
    await engine.apply(Desired(), None)


# --- many -------------------------------------------------------------------------------------


def crowd() -> Desired:
    """200 networks with 5 endpoints each, one with a published port."""
    world = World()
    networks, endpoints, sandboxes = {}, {}, {}
    for n in range(NETWORKS):
        net = world.network("d", f"10.{n // 100 + 100}.{n % 100}.0/24")
        net = NetworkSpec(
            id=f"{n:03x}".ljust(64, "d"), name=f"n{n}", driver="bridge", subnets=net.subnets
        )
        networks[net.id] = net
        for m in range(MEMBERS):
            name = f"s{n}-{m}"
            world.container(name, net, 2 + m, *([f"tcp:0.0.0.0:{20000 + n}:80"] if m == 0 else []))
            (ep,) = world.endpoints.values()
            id_ = f"{n:03x}{m}".ljust(64, "e")
            endpoints[id_] = EndpointSpec(
                id=id_, network_id=net.id, sandbox_id=name, interface="eth0", mac=ep.mac,
                addresses=ep.addresses, default_gateway=ep.default_gateway, ports=ep.ports,
            )  # fmt: skip
            sandboxes[name] = world.sandboxes[name]
            world.remove(name)
    return Desired(networks=networks, endpoints=endpoints, sandboxes=sandboxes)


async def idle(engine: Engine, desired: Desired, *, fresh: bool) -> list[float]:
    """Milliseconds of a look at everything that finds nothing to do."""

    async def look() -> None:
        assert (await engine.look(desired, fresh=fresh)).ops == ()

    return [await timed_ms(look) for _ in range(LOOKS)]


async def bench_crowd(engine: Engine) -> None:
    before = rss_mb()
    desired = crowd()
    took = await timed_ms(lambda: engine.apply(desired, None))
    count = len(desired.endpoints)
    print(f"{f'making {NETWORKS} networks, {count} endpoints at once':<58} {took:8.0f} ms")
    show("idle reconcile, every namespace read", await idle(engine, desired, fresh=True))
    first = show(
        "idle reconcile, silent ones from memory",
        await idle(engine, desired, fresh=False),
        f", aim {AIM_IDLE_MS}",
    )
    one = next(iter(desired.endpoints.values()))
    less = Desired(
        networks=desired.networks,
        sandboxes=desired.sandboxes,
        endpoints={key: each for key, each in desired.endpoints.items() if each is not one},
    )
    steps: list[float] = []
    for _ in range(CHANGES // 2):
        for wanted in (less, desired):
            at = scope(one.sandbox_id)
            steps.append(await timed_ms(lambda w=wanted, a=at: engine.apply(w, a)))
    show(f"connect and disconnect among {count}", steps)
    after = await idle(engine, desired, fresh=False)
    later = show(f"the same after {CHANGES} changes", after)
    print(f"{'idle reconcile, after over before':<58} {later / first:8.2f}")
    print(f"{'memory, of these networks (peak)':<58} {rss_mb() - before:8.1f} MiB")
    await engine.apply(Desired(), None)


def rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def bench(run: Path) -> None:
    engine = Engine(run, agent_id="bench")
    await engine.open()
    try:
        await bench_endpoint(engine, run)
        await bench_network(engine)
        await bench_crowd(engine)
    finally:
        await engine.apply(Desired(), None)
        await engine.close()


def main() -> None:
    """Print all figures."""
    print(f"kernel {platform.release()}, Python {platform.python_version()}")
    Libc().unshare()
    with tempfile.TemporaryDirectory(prefix="nb-", dir="/tmp") as run:
        trio.run(bench, Path(run))


if __name__ == "__main__":
    main()

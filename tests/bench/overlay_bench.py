"""What overlays cost: throughput and round trips between two hosts, and 10,000 endpoints.

Run as root: ``python -m tests.bench.overlay_bench``. Hosts are namespaces around a router. In
turns, in one run: VXLAN made by hand, our clear overlay, a bare WireGuard tunnel, VXLAN made by
hand over such a tunnel, and our encrypted overlay. WireGuard is the kernel's, else wireguard-go.
"""

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import trio

from netdrivers.contract.specs import Desired, RemoteEndpoint
from tests.fakes.world import scope
from tests.kernel.netdrivers.encryption.test_wireguard import Sealing
from tests.kernel.netdrivers.test_overlay import Host, hosts, pair

ROUNDS, SECONDS, PINGS = 5, 3, 200
AIM_CLEAR, AIM_SEALED = 0.97, 0.95


def in_ns(path: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["nsenter", f"--net={path}", *words], capture_output=True, text=True, check=True
    )


class Way:
    """Two ends that reach each other."""

    def __init__(self, name: str, client: str, server: str, address: str) -> None:
        self.name, self.client, self.server, self.address = name, client, server, address
        self.bits: list[float] = []
        self.rtt_us: list[float] = []

    def measure(self) -> None:
        server = subprocess.Popen(
            ["nsenter", f"--net={self.server}", "iperf3", "-s", "-1", "--forceflush"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert any("listening" in line for line in server.stdout)
        try:
            said = in_ns(self.client, "iperf3", "-J", "-t", str(SECONDS), "-c", self.address).stdout
        finally:
            server.communicate(timeout=30)
        self.bits.append(json.loads(said)["end"]["sum_received"]["bits_per_second"])
        said = in_ns(self.client, "ping", "-n", "-q", "-i", "0.002", "-c", str(PINGS), self.address)
        self.rtt_us.append(float(said.stdout.rsplit("=", 1)[1].split("/")[1]) * 1e3)

    def show(self, beside: "Way | None" = None, aim: float = 0.0) -> None:
        bits = statistics.median(self.bits)
        rtt_us = statistics.median(self.rtt_us)
        spread = f"({min(self.bits) / 1e9:.2f}-{max(self.bits) / 1e9:.2f})"
        line = f"{self.name:<30} {bits / 1e9:6.2f} Gbit/s {spread:<14} ping {rtt_us:5.0f} us"
        if beside is not None:
            of = bits / statistics.median(beside.bits)
            line += f"   {of:.2f} of {beside.name} (aim {aim})"
        print(line)


def even(spaces: list[str]) -> None:
    """Neither side's bridged packets pass the hooks of IP, where the namespace has them."""
    for space in spaces:
        script = "sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true"
        in_ns(space, "/bin/sh", "-c", script)


@contextmanager
def vxlan_by_hand(two: list[Host], name: str, ends: list[str], spaces: list[str]) -> Iterator[Way]:
    """On each host a bridge, a VXLAN link on it, and a veth pair into a namespace."""
    made = [f"{two[0].lab.hosts[0]}{name}{n}" for n in (0, 1)]
    try:
        for n, space in enumerate(made):
            subprocess.run(["ip", "netns", "add", space], check=True)
            mtu = 1350 if ":" in ends[0] else 1430
            script = (
                f"ip link add b{name} type bridge; ip link add v{name} type vxlan id 99"
                f" local {ends[n]} remote {ends[1 - n]} dstport 4999 nolearning"
                " udp6zerocsumtx udp6zerocsumrx;"
                f" ip link add h{name} mtu {mtu} type veth peer name eth0 netns {space} mtu {mtu};"
                f" for x in v{name} h{name}; do ip link set $x mtu {mtu} master b{name} up; done;"
                f" ip link set b{name} mtu {mtu} up"
            )
            in_ns(spaces[n], "/bin/sh", "-ec", script)
            script = f"ip link set eth0 up; ip addr add 10.99.0.{n + 1}/24 dev eth0"
            in_ns(f"/run/netns/{space}", "/bin/sh", "-ec", script)
        yield Way(f"VXLAN by hand{' in WireGuard' if ':' in ends[0] else ''}",
                  f"/run/netns/{made[0]}", f"/run/netns/{made[1]}", "10.99.0.2")  # fmt: skip
    finally:
        for space in made:
            subprocess.run(["ip", "netns", "del", space], check=False)
        for space in spaces:
            script = f"ip link del v{name}; ip link del b{name}"
            subprocess.run(["nsenter", f"--net={space}", "/bin/sh", "-c", script], check=False)


@asynccontextmanager
async def sealed(folder: Path):
    async with hosts(folder, 2) as made:
        both = Sealing(made)
        try:
            await both.start()
            await both.overlays()
            yield both
        finally:
            with trio.CancelScope(shield=True):
                await both.close()


async def clear_ways(folder: Path) -> None:
    async with hosts(folder, 2) as two:
        first, second = await pair(two)
        ours = Way("our clear overlay", f"{first.run}/netns/a", f"{second.run}/netns/b", "10.5.0.3")
        spaces = [f"/run/netns/{host.name}" for host in two]
        ends = [host.lab.address(host.n) for host in two]
        even(spaces)
        with vxlan_by_hand(two, "c", ends, spaces) as raw:
            for _ in range(ROUNDS):
                raw.measure()
                ours.measure()
            raw.show()
            ours.show(raw, AIM_CLEAR)


async def sealed_ways(folder: Path) -> None:
    async with sealed(folder) as both:
        first, second = both.hosts
        ours = Way(
            "our encrypted overlay", f"{first.run}/netns/a", f"{second.run}/netns/b", "10.5.0.3"
        )
        status = [await device.status() for device in both.devices]
        spaces = [f"{host.run}/sealed" for host in both.hosts]
        even([*spaces, *(f"/run/netns/{host.name}" for host in both.hosts)])
        bare = Way(f"bare tunnel ({status[0].backend})", *spaces, str(status[1].address))
        await trio.sleep(2)  # wireguard-go looks once a second whether its link is up
        with vxlan_by_hand(both.hosts, "s", [str(each.address) for each in status], spaces) as raw:
            for _ in range(ROUNDS):
                bare.measure()
                raw.measure()
                ours.measure()
            bare.show()
            raw.show()
            ours.show(raw, AIM_SEALED)


async def remotes(folder: Path) -> None:
    async with hosts(folder, 1) as (host,):
        host.network()
        await host.apply()
        base = ip_address("10.64.0.0")
        for count in (1_000, 10_000):
            told = tuple(
                RemoteEndpoint(
                    mac=f"02:42:{n >> 16:02x}:{n >> 8 & 255:02x}:{n & 255:02x}:01",
                    addresses=(base + n,),
                    vtep=ip_address("10.200.1.2"),
                )
                for n in range(count)
            )
            host.world.networks[host.net.id] = replace(
                host.net, overlay=replace(host.net.overlay, remotes=told)
            )
            worst = [0.0]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch_loop, worst)
                began = time.perf_counter()
                await host.engine.apply(host.world.desired, scope(networks=(host.net,)))
                took = time.perf_counter() - began
                nursery.cancel_scope.cancel()
            print(
                f"{count:6} remote endpoints: in the kernel after {took:.2f} s (10,000: aim 2 s),"
                f" longest stall of the loop {worst[0] * 1e3:.0f} ms (aim 50)"
            )
        await host.engine.apply(Desired(), None)


async def _watch_loop(worst: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await trio.sleep(0.001)
        worst[0] = max(worst[0], time.perf_counter() - began - 0.001)


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="nb-") as top:
        for n, part in enumerate((clear_ways, sealed_ways, remotes)):
            folder = Path(top) / str(n)
            folder.mkdir()
            await part(folder)


if __name__ == "__main__":
    trio.run(main)

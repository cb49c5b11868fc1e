"""Answers per second and CPU per query of the name server, as a container would see it.

Makes its own network namespace, serves 1,000 names there and lets dnsperf ask, at the real port and
at 127.0.0.11:53 through the redirect each sandbox has; then 1,000 names of an upstream, which are
kept after the first time. Server and upstream on core 1, dnsperf on core 0.

    sudo python tests/bench/dns_bench.py [--seconds 5]
"""

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parents[2]))

from netdrivers.contract.names import DnsHost, DnsTable, DnsView, DnsZone
from netdrivers.dns.server import DnsServer

NAMES = 1000
UPSTREAM = "127.0.53.7"
REDIRECT = """
table ip bench {{
  chain out {{ type nat hook output priority -100; policy accept;
    ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:{port}
    ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:{port}
  }}
}}
"""


def table(sandbox: str) -> DnsTable:
    hosts = [
        DnsHost(name=f"web{n}", addresses=(IPv4Address(f"10.0.{n // 250}.{n % 250 + 1}"),))
        for n in range(NAMES)
    ]
    names = {host.name: (host,) for host in hosts}
    zone = DnsZone(name="demo", names=names, reverse={})
    view = DnsView(zones=("n",), upstreams=(UPSTREAM,))
    return DnsTable(zones={"n": zone}, views={sandbox: view})


async def upstream(sock: socket.socket) -> None:
    """Any name has one address, for a minute."""
    listener = trio.socket.from_stdlib_socket(sock)
    while True:
        packet, peer = await listener.recvfrom(512)
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1"
        head = packet[:2] + b"\x81\x80\0\1\0\1\0\0\0\0"
        await listener.sendto(head + packet[12 : packet.index(b"\0", 12) + 5] + record, peer)


async def run(dns: DnsServer, sock: socket.socket) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upstream, sock)
        nursery.start_soon(dns.run)


@contextmanager
def namespace():
    name = f"dnsbench{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield Path("/run/netns") / name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@contextmanager
def server(netns: Path):
    """A child process with the server alone; its pid and port."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.sched_setaffinity(0, {1 % os.cpu_count()})
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind((UPSTREAM, 0))
        dns = DnsServer(upstream_port=sock.getsockname()[1])
        dns.set_table(table("s"))
        os.write(write, str(dns.open("s", netns, 0)).encode())
        os.close(write)
        trio.run(run, dns, sock)
    os.close(write)
    try:
        yield pid, int(os.read(read, 16))
    finally:
        os.close(read)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def dnsperf(netns: Path, port: int, domain: str, *extra: str) -> str:
    """What it prints after asking for all names."""
    inside = ["nsenter", f"--net={netns}", "taskset", "-c", "0"]
    asking = ["dnsperf", "-s", "127.0.0.11", "-p", str(port), "-c", "8", "-q", "100", *extra]
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="ascii") as queries:
        queries.writelines(f"web{n}{domain} A\n" for n in range(NAMES))
        queries.flush()
        command = [*inside, *asking, "-d", queries.name]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def measure(
    label: str, pid: int, netns: Path, port: int, args, *extra: str, domain: str = ""
) -> None:
    dnsperf(netns, port, domain, "-n", "1")  # what comes after is no first time
    before = cpu_s(pid)
    out = dnsperf(netns, port, domain, "-l", str(args.seconds), *extra)
    used = cpu_s(pid) - before
    done = int(re.search(r"Queries completed:\s+(\d+)", out)[1])
    lost = int(re.search(r"Queries lost:\s+(\d+)", out)[1])
    rate = float(re.search(r"Queries per second:\s+([\d.]+)", out)[1])
    print(
        f"{label:32} {rate:10,.0f} answers/s  {used / done * 1e6:5.1f} us CPU/query  "
        f"{done / used:10,.0f} per CPU second  lost {lost}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    args = parser.parse_args()
    with namespace() as netns, server(netns) as (pid, port):
        measure("real port", pid, netns, port, args)
        subprocess.run(
            ["nsenter", f"--net={netns}", "nft", "-f", "-"],
            input=REDIRECT.format(port=port),
            text=True,
            check=True,
        )
        measure("127.0.0.11:53, redirected", pid, netns, 53, args)
        measure("redirected, EDNS", pid, netns, 53, args, "-e")
        measure("redirected, TCP", pid, netns, 53, args, "-m", "tcp")
        measure("kept from upstream", pid, netns, 53, args, domain=".example.com")
        measure("kept, TCP", pid, netns, 53, args, "-m", "tcp", domain=".example.com")


if __name__ == "__main__":
    main()

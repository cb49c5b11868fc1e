"""A host of its own for each test: a network namespace, an outside behind a cable, an engine."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netdrivers.engine import Engine
from netdrivers.kernel.netns import HERE, Libc, open_fd
from tests.fakes.world import World, scope

TRIES = 12
WAIT_S = 0.25  # until a packet counts as dropped; a round trip takes 0.05 ms


class Host:
    """The test's namespace and another one, ``outside``, joined by a cable."""

    def __init__(self) -> None:
        self.libc = Libc()
        self._before = open_fd(HERE)
        self.libc.unshare()
        self.outside = open_fd(HERE)
        self.libc.setns(self._before)
        self.libc.unshare()
        self.home = open_fd(HERE)
        # a new namespace takes these over from the machine, where an agent may have set them
        self.sh("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
        quiet = "sysctl -qw net.ipv6.conf.default.accept_dad=0"
        with self.inside(self.outside):
            self.sh(quiet)
        self.sh(f"{quiet}; ip link set lo up; ip link add up0 type veth peer name up1")
        self.sh(f"ip link set up1 netns /proc/{os.getpid()}/fd/{self.outside}")
        self.sh("ip addr add 198.51.100.1/24 dev up0; ip addr add 2001:db8::1/64 dev up0 nodad")
        self.sh("ip link set up0 up")
        with self.inside(self.outside):
            self.sh("ip link set lo up; ip link set up1 up; ip addr add 198.51.100.2/24 dev up1")
            self.sh("ip addr add 2001:db8::2/64 dev up1 nodad")
            self.sh("ip route add default via 198.51.100.1")
            self.sh("ip -6 route add default via 2001:db8::1")

    def close(self) -> None:
        self.libc.setns(self._before)
        for fd in (self.home, self.outside, self._before):
            os.close(fd)

    @contextmanager
    def inside(self, ns: int | Path) -> Iterator[None]:
        fd = os.open(ns, os.O_RDONLY) if isinstance(ns, Path) else os.dup(ns)
        back = open_fd(HERE)
        self.libc.setns(fd)
        try:
            yield
        finally:
            self.libc.setns(back)
            os.close(back)
            os.close(fd)

    def sh(self, script: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-ec", script], capture_output=True, text=True, check=False, timeout=20
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def command(self, *words: str) -> list[str]:
        """A command for a child at home: threads that start children may be elsewhere."""
        return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self.home}", *words]

    def set_bridge_hooks(self, *, on: bool) -> None:
        """Whether bridged packets pass the hooks of inet tables (br_netfilter)."""
        if not Path("/proc/sys/net/bridge").exists():
            if on:
                pytest.skip("this kernel has no br_netfilter: bridged packets pass no inet hook")
            return
        for family in ("ip", "ip6"):
            self.sh(f"sysctl -qw net.bridge.bridge-nf-call-{family}tables={int(on)}")

    def echo(self, ns: int | Path, address: str) -> bool:
        """Whether an echo request is answered."""
        v6 = ":" in address
        protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
        with self.inside(ns):
            self.sh("sysctl -qw net.ipv4.ping_group_range='0 0'")
            sock = socket.socket(
                socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM, protocol
            )
        with sock:
            sock.settimeout(WAIT_S)
            sock.sendto(bytes([128 if v6 else 8, *bytes(7)]), (address, 0))
            try:
                return sock.recv(100)[0] == (129 if v6 else 0)
            except OSError:
                return False

    def nft(self) -> str:
        return self.sh("nft list ruleset")

    def listen(self, ns: int | Path, port: int, address: str = "", kind: str = "tcp"):
        v6 = ":" in address
        stream = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
        with self.inside(ns):
            sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, stream)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address or "0.0.0.0", port))
        sock.settimeout(WAIT_S)
        if kind == "tcp":
            sock.listen()
        return sock

    def is_free(self, ns: int | Path, port: int) -> bool:
        with self.inside(ns):
            sock = socket.socket(socket.AF_INET)
        with sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("0.0.0.0", port))
                sock.listen()
            except OSError:
                return False
        return True

    def client_of(self, server: socket.socket) -> str:
        sock, peer = server.accept()
        sock.close()
        return peer[0]

    def connect(self, ns: int | Path, address: str, port: int, source: str = "") -> bool:
        """Whether a TCP handshake succeeds."""
        with self.inside(ns):
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        with sock:
            sock.settimeout(WAIT_S)
            if source:
                sock.bind((source, 0))
            try:
                sock.connect((address, port))
            except OSError:
                return False
        return True

    def reaches(self, ns: int | Path, address: str, port: int, source: str = "") -> bool:
        """Whether a TCP handshake comes to succeed: a new link may lose a first packet."""
        return any(self.connect(ns, address, port, source) for _ in range(TRIES))

    def datagram(self, ns: int | Path, address: str, port: int, server: socket.socket) -> bool:
        """Whether a datagram gets to the server and its answer comes back."""
        with self.inside(ns):
            sock = socket.socket(
                socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM
            )
        with sock:
            sock.settimeout(WAIT_S)
            sock.connect((address, port))
            try:
                sock.send(b"ask")
                _, peer = server.recvfrom(100)
                server.sendto(b"answer", peer)
                return sock.recv(100) == b"answer"
            except OSError:
                return False


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(params=[True, False], ids=["bridged-hooks", "no-bridged-hooks"])
def hooks(request, host: Host) -> bool:
    """Both ways in which a kernel treats bridged packets."""
    host.set_bridge_hooks(on=request.param)
    return request.param


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    libc = Libc()
    yield tmp_path
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        if line.split()[4].startswith(f"{tmp_path}/"):
            libc.unmount(Path(line.split()[4]))


@pytest.fixture
async def engine(host: Host, run_dir: Path):
    made = Engine(run_dir, agent_id="test")
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def two(host, engine, world, run_dir):
    """Containers a and b on network A, c on network B, i and j on internal network I."""
    net_a = world.network("a", "10.1.0.0/24", "fd00:a::/64")
    net_b = world.network("b", "10.2.0.0/24")
    net_i = world.network("c", "10.3.0.0/24", internal=True)
    world.container("a", net_a, 2)
    ports = ["tcp:0.0.0.0:8080:80", "udp:0.0.0.0:8080:80", "tcp:127.0.0.1:8081:80"]
    ports += ["tcp:198.51.100.1:8082:80", "tcp::::8080:80"]
    world.container("b", net_a, 3, *ports)
    world.container("c", net_b, 2)
    world.container("i", net_i, 2)
    world.container("j", net_i, 3, "tcp:0.0.0.0:8090:80")
    report = await engine.apply(world.desired, None)
    assert report.ops
    return {name: run_dir / "netns" / name for name in world.sandboxes}


@pytest.fixture
def scoped():
    return scope


@pytest.fixture
async def wired(host, engine, world, run_dir):
    """Containers a and b on the wire, c on a bridge; ``wired(**options)`` makes them."""

    async def make(**options):
        net = world.macvlan("e", "198.51.100.0/24", "2001:db8::/64", **options)
        world.container("a", net, 20)
        world.container("b", net, 30)
        world.container("c", world.network("b", "10.2.0.0/24"), 2)
        assert (await engine.apply(world.desired, None)).ops
        assert (await engine.apply(world.desired, None)).ops == ()
        return {name: run_dir / "netns" / name for name in world.sandboxes}

    return make

"""Hosts as network namespaces around a router: what goes from one to another is routed."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from netdrivers.kernel.netns import HERE, Libc, open_fd


class Lab:
    """``count`` hosts; host n has 10.200.n.2 and fd99:n::2; ``up0`` is its cable to the router."""

    def __init__(self, count: int, *, mtu: int = 1500) -> None:
        self._libc = Libc()
        self._name = f"nl{token_hex(3)}"
        self.router = f"{self._name}r"
        self.hosts = [f"{self._name}h{n}" for n in range(count)]
        self._made: list[str] = []
        try:
            for name in (self.router, *self.hosts):
                subprocess.run(["ip", "netns", "add", name], check=True)
                self._made.append(name)
                # a new namespace takes these over from the machine
                self.sh(name, "sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv4.ip_forward=0")
                self.sh(name, "sysctl -qw net.ipv6.conf.all.forwarding=0; ip link set lo up")
            self.sh(self.router, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
            for n, name in enumerate(self.hosts):
                self._cable(n, name, mtu)
        except BaseException:
            self.close()
            raise

    def _cable(self, n: int, host: str, mtu: int) -> None:
        self.sh(self.router, f"ip link add h{n} mtu {mtu} type veth peer name up0 netns {host}")
        self.sh(
            self.router,
            f"ip addr add 10.200.{n}.1/24 dev h{n}; ip addr add fd99:{n:x}::1/64 dev h{n} nodad;"
            f" ip link set h{n} up",
        )
        self.sh(
            host,
            f"ip link set up0 mtu {mtu}; ip addr add {self.address(n)}/24 dev up0;"
            f" ip addr add {self.address(n, 6)}/64 dev up0 nodad; ip link set up0 up;"
            f" ip route add default via 10.200.{n}.1; ip -6 route add default via fd99:{n:x}::1",
        )

    @staticmethod
    def address(n: int, version: int = 4) -> str:
        return f"10.200.{n}.2" if version == 4 else f"fd99:{n:x}::2"

    def sh(self, name: str, script: str, *, check: bool = True) -> str:
        """Run a shell script in a namespace."""
        done = subprocess.run(
            [*self.enter(name), "/bin/sh", "-ec", script],
            capture_output=True, text=True, errors="replace", check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    @staticmethod
    def enter(name: str) -> list[str]:
        """A command's beginning that runs it there. `ip netns exec` would hide the cgroups."""
        return ["nsenter", f"--net=/run/netns/{name}"]

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Run the block there: no await that another task could use."""
        back, fd = open_fd(HERE), open_fd(Path("/run/netns") / name)
        try:
            self._libc.setns(fd)
            try:
                yield
            finally:
                self._libc.setns(back)
        finally:
            os.close(back)
            os.close(fd)

    def cut(self, n: int) -> None:
        """Nothing passes between host n and the others."""
        self.sh(self.router, f"ip link set h{n} down")

    def heal(self, n: int) -> None:
        """Everything passes again."""
        self.sh(
            self.router,
            f"ip link set h{n} up; ip -6 addr replace fd99:{n:x}::1/64 dev h{n} nodad",
        )

    def close(self) -> None:
        for name in self._made:
            subprocess.run(["ip", "netns", "del", name], check=False)
        self._made = []

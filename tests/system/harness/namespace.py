"""A network namespace that plays one host: named, with its loopback up, gone at the end."""

import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

COMMAND_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """One "host" on this kernel. Agents and tools enter it by ``nsenter``.

    Never ``ip netns exec``: it remounts /sys, and the cgroup mounts below it are out of sight.
    """

    name: str

    @property
    def path(self) -> Path:
        return Path("/run/netns") / self.name

    def argv(self, *args: str) -> list[str]:
        """The command line that runs ``args`` in here; the pid stays that of the child."""
        return ["nsenter", f"--net={self.path}", "--", *args]

    def run(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in here and return what it said."""
        return run(self.argv(*args), check=check)

    def fetch(self, url: str) -> str:
        """GET a URL from in here."""
        return self.run("curl", "-fsS", "-m", "10", url).stdout


def run(argv: Sequence[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command; on failure the error holds what it said."""
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=COMMAND_S,
    )
    if check and done.returncode:
        raise AssertionError(
            f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done


@contextmanager
def open_namespace() -> Iterator[Namespace]:
    """Make a namespace; delete it at the end, whatever happened in it."""
    space = Namespace(name=f"nt-{secrets.token_hex(3)}")
    run(["ip", "netns", "add", space.name])
    try:
        space.run("ip", "link", "set", "lo", "up")
        # taken over from the machine, where an agent may have turned it on
        space.run("sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")
        yield space
    finally:
        run(["ip", "netns", "delete", space.name])


def join(near: Namespace, far: Namespace, *, prefix: str = "192.0.2") -> tuple[str, str]:
    """Lay a cable between two namespaces; return the addresses of its ends."""
    cable = f"c{secrets.token_hex(3)}"
    pair = ("type", "veth", "peer", "name", f"{cable}b", "netns", far.name)
    run(["ip", "link", "add", f"{cable}a", "netns", near.name, *pair])
    for space, end, last in ((near, f"{cable}a", 1), (far, f"{cable}b", 2)):
        space.run("ip", "address", "add", f"{prefix}.{last}/24", "dev", end)
        space.run("ip", "link", "set", end, "up")
    return f"{prefix}.1", f"{prefix}.2"

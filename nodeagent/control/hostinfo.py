"""What /proc tells of the host the agent runs on: addresses, names, memory. Read, never changed."""

import os
import platform
import socket
import sys
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Interface, ip_address, ip_network
from pathlib import Path
from typing import Final

from netdrivers.contract.specs import IPAddress, IPNetwork

PRIVATE: Final = tuple(
    ip_network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)
TENTATIVE, TWIN_FOUND = 0x40, 0x08  # IFA_F_TENTATIVE, IFA_F_DADFAILED


def parse_fib_trie(text: str) -> list[IPv4Address]:
    """Local IPv4 addresses of ``/proc/net/fib_trie``."""
    found: dict[IPv4Address, None] = {}
    last = ""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "|--":
            last = words[1]
        elif words[:1] == ["/32"] and "host" in words and "LOCAL" in words:
            found[IPv4Address(last)] = None
    return list(found)


def parse_if_inet6(text: str) -> list[IPv6Interface]:
    """IPv6 addresses of ``/proc/net/if_inet6`` that can be bound: their look for a twin is over."""
    found = []
    for line in filter(None, text.splitlines()):
        digits, _, prefix, _, flags, _ = line.split()
        if not int(flags, 16) & (TENTATIVE | TWIN_FOUND):
            found.append(IPv6Interface((bytes.fromhex(digits), int(prefix, 16))))
    return found


def parse_routes(text: str) -> list[IPv4Network]:
    """Networks of ``/proc/net/route`` that are directly on a link."""
    found = []
    for line in text.splitlines()[1:]:
        _, to, via, _, _, _, _, mask, *_ = line.split()
        if int(via, 16) == 0 and int(mask, 16) != 0:
            found.append(IPv4Network((_swapped(to), int(mask, 16).bit_count())))
    return found


def _swapped(digits: str) -> bytes:
    """The kernel prints addresses as numbers of this machine's byte order."""
    return int(digits, 16).to_bytes(4, sys.byteorder)


def read_addresses(proc: Path = Path("/proc/self/net")) -> list[IPAddress]:
    """All addresses of the agent's network namespace."""
    v4 = parse_fib_trie((proc / "fib_trie").read_text(encoding="ascii"))
    return [*v4, *(each.ip for each in _read_v6(proc))]


def read_links(proc: Path = Path("/proc/self/net")) -> list[IPNetwork]:
    """The networks that are directly on a link of the agent's namespace."""
    v4 = parse_routes((proc / "route").read_text(encoding="ascii"))
    return [*v4, *(each.network for each in _read_v6(proc))]


def _read_v6(proc: Path) -> list[IPv6Interface]:
    file = proc / "if_inet6"
    return parse_if_inet6(file.read_text(encoding="ascii")) if file.exists() else []


def is_private(ip: IPAddress) -> bool:
    """Whether it is of RFC 1918 or RFC 4193: routed by nobody but its owner.

    Python's ``is_private`` means "not global": documentation and benchmark ranges too, which a lab
    may well route.
    """
    return any(ip in net for net in PRIVATE if net.version == ip.version)


def choose_publish_addresses(
    setting: tuple[str, ...], host: Iterable[IPAddress], ours: set[IPAddress]
) -> list[IPAddress]:
    """Where a port without host address is published.

    ``private`` stands for loopback 127.0.0.1 and the host's private addresses (RFC 1918, RFC
    4193), our own bridges left out: a port is not open to the world unless somebody says so.
    """
    chosen: dict[IPAddress, None] = {}
    for word in setting:
        if word != "private":
            chosen[ip_address(word)] = None
            continue
        chosen[IPv4Address("127.0.0.1")] = None
        for address in host:
            usable = not (address.is_loopback or address.is_link_local or address in ours)
            if usable and is_private(address):
                chosen[address] = None
    return list(chosen)


def read_memory_bytes(meminfo: Path = Path("/proc/meminfo")) -> int:
    """MemTotal."""
    for line in meminfo.read_text(encoding="ascii").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def read_os_name(path: Path = Path("/etc/os-release")) -> str:
    """PRETTY_NAME of the host."""
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("PRETTY_NAME="):
                return line.partition("=")[2].strip('"')
    return platform.system()


def read_cgroup_version(root: Path = Path("/sys/fs/cgroup")) -> str:
    """1, 2 or ``1 (hybrid)``."""
    if (root / "cgroup.controllers").exists():
        return "2"
    return "1 (hybrid)" if (root / "unified").is_dir() else "1"


def host_name() -> str:
    """The host's name."""
    return socket.gethostname()


def cpu_count() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def security_modules() -> frozenset[str]:
    """Which of AppArmor and SELinux this kernel runs."""
    marks = {
        "apparmor": Path("/sys/kernel/security/apparmor/profiles"),
        "selinux": Path("/sys/fs/selinux/enforce"),
    }
    return frozenset(name for name, mark in marks.items() if mark.exists())

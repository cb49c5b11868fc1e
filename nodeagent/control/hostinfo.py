"""What /proc tells of the host the agent runs on: addresses, names, memory. Read, never changed."""

import os
import platform
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from netdrivers.contract import IPAddress


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


def parse_if_inet6(text: str) -> list[IPv6Address]:
    """IPv6 addresses of ``/proc/net/if_inet6``."""
    return [IPv6Address(bytes.fromhex(line.split()[0])) for line in text.splitlines() if line]


def read_addresses(proc: Path = Path("/proc/self/net")) -> list[IPAddress]:
    """All addresses of the agent's network namespace."""
    v4 = parse_fib_trie((proc / "fib_trie").read_text(encoding="ascii"))
    v6 = proc / "if_inet6"
    return [*v4, *(parse_if_inet6(v6.read_text(encoding="ascii")) if v6.exists() else [])]


def choose_publish_addresses(
    setting: tuple[str, ...], host: Iterable[IPAddress], ours: set[IPAddress]
) -> list[IPAddress]:
    """Where a port without host address is published.

    ``private`` stands for loopback 127.0.0.1 and the host's private addresses, our own bridges
    left out: a port is not open to the world unless somebody says so.
    """
    chosen: dict[IPAddress, None] = {}
    for word in setting:
        if word != "private":
            chosen[ip_address(word)] = None
            continue
        chosen[IPv4Address("127.0.0.1")] = None
        for address in host:
            usable = not (address.is_loopback or address.is_link_local or address in ours)
            if usable and address.is_private:
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

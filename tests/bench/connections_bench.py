"""Connections a second through a published port, beside the same server without us.

Run as root: ``python -m tests.bench.connections_bench``. One server program (accept, send, close)
runs in a container's namespace behind ports published on loopback and on the host's address, and
once more on the plain loopback of the same namespace as the agent; one client asks each in turns.

The container's own address is asked on a port of its own. What is published on loopback arrives
from the bridge's address, too, its port kept: to one port of the container the two ways would meet
each other's TIME_WAIT, and where a connection's sequence number is below that of the former one
its first SYN is refused and comes again a second later. So SYNs sent again are printed: a rate
with any of them says how often that second was waited, not what a connection costs.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.harness.agent import open_agent
from tests.system.harness.images import build_busybox
from tests.system.harness.namespace import join, open_namespace

ROUNDS = 9
CONNECTIONS = 3000
AIM = 0.8  # of a plain loopback server, for a port published on loopback
SERVER = """
import socket, sys
door = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=1024)
print("up", flush=True)
while True:
    stream, _ = door.accept()
    stream.send(b"x")
    stream.close()
"""
CLIENT = """
import socket, sys, time
where, count = (sys.argv[1], int(sys.argv[2])), int(sys.argv[3])
began = time.perf_counter()
for _ in range(count):
    stream = socket.socket()
    stream.connect(where)
    assert stream.recv(8) == b"x"
    stream.close()
print(count / (time.perf_counter() - began))
"""


@contextmanager
def serving(argv: list[str], address: str, port: int) -> Iterator[None]:
    command = [*argv, sys.executable, "-c", SERVER, address, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            yield
        finally:
            child.kill()


def resent(argv: list[str]) -> int:
    """SYNs sent again in a namespace until now."""
    argv = [*argv, "cat", "/proc/net/netstat"]
    text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    names, values = (line.split() for line in text.splitlines()[:2])
    return int(values[names.index("TCPSynRetrans")])


def rate(argv: list[str], address: str, port: int) -> float:
    words = [*argv, sys.executable, "-c", CLIENT, address, str(port), str(CONNECTIONS)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    with open_namespace() as host, open_namespace() as outside, open_agent(host) as agent:
        near, _ = join(host, outside)
        with tempfile.NamedTemporaryFile(suffix=".tar") as tar:
            Path(tar.name).write_bytes(build_busybox())
            agent.cli("image", "import", tar.name, "busybox:latest")
        ports = ("-p", "127.0.0.1:8080:80", "-p", f"{near}:8080:80")
        agent.cli("run", "-d", "--name", "web", *ports, "busybox", "sleep", "1000")
        inside = ["nsenter", f"--net=/proc/{agent.pid_of('web')}/ns/net", "--"]
        address = agent.inspect("container", "web")["NetworkSettings"]["IPAddress"]
        here, there = host.argv(), outside.argv()
        with (
            serving(inside, "0.0.0.0", 80),
            serving(inside, "0.0.0.0", 81),
            serving(here, "127.0.0.1", 9000),
            serving(here, near, 9000),
        ):
            cases = {
                "host, plain loopback server": (here, "127.0.0.1", 9000),
                "host, port published on loopback": (here, "127.0.0.1", 8080),
                "host, the container's own address": (here, address, 81),
                "outside host, plain server": (there, near, 9000),
                "outside host, published port": (there, near, 8080),
            }
            found: dict[str, list[float]] = {name: [] for name in cases}
            for _ in range(ROUNDS):
                for name, case in cases.items():
                    found[name].append(rate(*case))
            again = resent(here) + resent(there)
        medians = {name: statistics.median(values) for name, values in found.items()}
        for name, values in found.items():
            print(f"{name:<40} {medians[name]:8.0f} /s  ({min(values):.0f}-{max(values):.0f})")
        plain, published, direct, far, through = medians.values()
        print(f"published on loopback / plain loopback   {published / plain:8.2f}  (aim {AIM})")
        print(f"published on loopback / own address      {published / direct:8.2f}")
        print(f"published / plain, from outside          {through / far:8.2f}")
        print(f"SYNs sent again                          {again:5}")


if __name__ == "__main__":
    print(f"{time.strftime('%Y-%m-%d')}, {ROUNDS} rounds, medians (least-most)")
    main()

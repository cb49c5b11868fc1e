"""A container writes 1 GB as fast as it can. Prints figures, judges nothing. Needs root.

python tests/bench/flood_bench.py
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.system.harness.agent import Agent, open_agent
from tests.system.harness.images import build_busybox
from tests.system.harness.namespace import open_namespace

BYTES = 1_000_000_000
SETTLE_S = 6.0  # until the budget was looked at


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def size_of(folder: Path) -> int:
    total = 0
    for path in folder.glob("ctr.log*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # compressed at this moment
            continue
    return total


def flood(agent: Agent, *options: str) -> None:
    script = f"yes {'y' * 120} | head -c {BYTES}; touch /done; sleep 1000"
    before, begin = cpu_s(agent.pid), time.monotonic()
    agent.cli("run", "-d", "--name", "flood", *options, "busybox", "sh", "-c", script)
    folder = agent.root / "containers" / agent.inspect("container", "flood")["Id"] / "log"
    peak, slowest = 0, 0.0
    while agent.cli("exec", "flood", "test", "-e", "/done", check=False).returncode:
        peak = max(peak, size_of(folder))
        asked = time.monotonic()
        agent.cli("system", "ping")
        slowest = max(slowest, time.monotonic() - asked)
    took = time.monotonic() - begin
    time.sleep(SETTLE_S)
    print(
        f"written in {took:.1f} s; files {peak / 1e6:.0f} MB at most,"
        f" {size_of(folder) / 1e6:.0f} MB at rest; agent {cpu_s(agent.pid) - before:.1f} s of CPU;"
        f" slowest ping of the command line {slowest * 1e3:.0f} ms"
    )
    begin = time.monotonic()
    lines = len(agent.say("logs", "flood").splitlines())
    seconds = time.monotonic() - begin
    print(f"logs: {lines} lines in {seconds:.1f} s, {lines / seconds / 1e3:.0f} k lines/s")
    agent.cli("rm", "-f", "flood")


def main() -> None:
    with open_namespace() as place, open_agent(place) as agent:
        tar = agent.base / "busybox.tar"
        tar.write_bytes(build_busybox())
        agent.cli("image", "import", str(tar), "busybox:latest")
        print("kept only:")
        flood(agent)
        print("for a syslog server that is dead:")
        flood(agent, "--log-driver", "syslog", "--log-opt", "syslog-address=tcp://127.0.0.1:9")


if __name__ == "__main__":
    main()

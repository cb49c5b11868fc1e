"""What health checks cost: 50 containers, a probe a second each; printed, never asserted.

Run as root: ``python -m tests.bench.health_bench``, for some 40 seconds. Processor time is that of
the agent with the probes it waited for, so the machine's other work does not count; a share of one
processor. Beside it what the same containers cost without a check.
"""

import os
import tempfile
import time
from pathlib import Path

from tests.system.harness.agent import Agent, open_agent
from tests.system.harness.images import build_busybox
from tests.system.harness.namespace import open_namespace

CROWD = 50
SECONDS = 8.0
TICKS = os.sysconf("SC_CLK_TCK")
CHECK = ("--health-cmd", "true", "--health-interval", "1s")


def read_cpu_s(pid: int) -> tuple[float, float]:
    """(of the agent, of the children it waited for), both in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    user, system, children_user, children_system = map(int, fields[11:15])
    return (user + system) / TICKS, (children_user + children_system) / TICKS


def count_probes(agent: Agent) -> int:
    text = agent.space.fetch("http://127.0.0.1:9323/metrics")
    lines = [each for each in text.splitlines() if each.startswith("nodeagent_health_probes_total")]
    return sum(int(float(each.split()[-1])) for each in lines)


def measure(agent: Agent, words: str) -> None:
    own, children, probes = *read_cpu_s(agent.pid), count_probes(agent)
    begin = time.monotonic()
    time.sleep(SECONDS)
    own_after, children_after, done = *read_cpu_s(agent.pid), count_probes(agent) - probes
    took = time.monotonic() - begin
    own_share, share = (own_after - own) / took, (children_after - children) / took
    each_ms = (own_share + share) * took / done * 1000 if done else 0.0
    print(
        f"{words:<28} agent {own_share:6.1%}  probes {share:6.1%} of a processor"
        f"  {done / took:5.1f} probes/s  {each_ms:5.1f} ms a probe"
    )


def main() -> None:
    """Print the figures."""
    with (
        tempfile.TemporaryDirectory(prefix="nt-bench-") as top,
        open_namespace() as space,
        open_agent(space, settings='[metrics]\nlisten = "127.0.0.1:9323"\n') as agent,
    ):
        tar = Path(top) / "busybox.tar"
        tar.write_bytes(build_busybox())
        agent.cli("image", "import", str(tar), "busybox:latest")
        for check, words in (((), "no health check"), (CHECK, "a probe a second")):
            for n in range(CROWD):
                agent.cli("run", "-d", "--network", "none", "--name", f"box{n}", *check, "busybox",
                          "sleep", "1000")  # fmt: skip
            measure(agent, f"{CROWD} containers, {words}")
            agent.remove_all()


if __name__ == "__main__":
    main()

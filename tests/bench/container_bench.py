"""What containers cost the agent: memory, restarts, exec, removal, starts by eight. Printed only.

Run as root: ``python -m tests.bench.container_bench [most containers]`` (300 unless told, which
takes some minutes). Memory is PSS: of the agent, and of it with all conmons. The peers' figures are
for people to hold beside it; nothing else is started here.
"""

import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nodeagent.rpc.sync_client import SyncClient, open_sync_client
from tests.bench.agent_bench import show, timed_ms
from tests.system.harness import leftovers
from tests.system.harness.agent import Agent, open_agent
from tests.system.harness.images import build_busybox
from tests.system.harness.namespace import open_namespace

STEPS = (50, 100, 300)
WAYS = 8
RESTARTS = 5
EXECS = 30
REQUEST = {"image": "busybox", "cmd": ["sleep", "100000"], "network_mode": "demo"}


def line(name: str, value: float, unit: str, more: str = "") -> None:
    print(f"{name:<56} {value:9.2f} {unit}{f'  ({more})' if more else ''}", flush=True)


def pss_mib(pids: Iterable[int]) -> float:
    """Memory, what is shared counted in parts."""
    kib = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
        except (FileNotFoundError, ProcessLookupError):
            continue
        kib += sum(int(row.split()[1]) for row in text.splitlines() if row.startswith("Pss:"))
    return kib / 1024


def conmons(agent: Agent) -> list[int]:
    found = leftovers.pids_of(agent.base, agent.cgroup)
    return [pid for pid in found if Path(f"/proc/{pid}/comm").read_text("ascii") == "conmon\n"]


def bench_memory(agent: Agent, count: int) -> None:
    alone = pss_mib([agent.pid])
    with_all = alone + pss_mib(conmons(agent))
    line(f"memory with {count}: agent and conmons (PSS)", with_all, "MiB", f"agent {alone:.1f}")


def start_many(agent: Agent, names: list[str]) -> float:
    """Seconds for all to run, eight callers at a time."""

    def some(mine: list[str]) -> None:
        with open_sync_client(agent.host) as client:
            for name in mine:
                client.call("container.create", REQUEST | {"name": name})
                client.call("container.start", {"name": name})

    with ThreadPoolExecutor(WAYS) as pool:
        parts = [names[n::WAYS] for n in range(WAYS)]
        return timed_ms(lambda: list(pool.map(some, parts))) / 1e3


def bench_restart(agent: Agent, count: int) -> None:
    """From the start of the process until a list is answered with all of them."""
    took = []
    for n in range(RESTARTS):
        agent.kill() if n % 2 else agent.stop()
        begin = time.perf_counter()
        agent.start()
        with open_sync_client(agent.host) as client:
            rows = client.call("container.ls", {})
        took.append(time.perf_counter() - begin)
        assert len(rows) == count, f"{len(rows)} of {count}"
    more = f"n {RESTARTS}, {min(took):.2f} to {max(took):.2f}"
    line(
        f"start of the agent until {count} are adopted and listed",
        statistics.median(took),
        "s",
        more,
    )


def bench_exec(client: SyncClient, name: str) -> None:
    def once() -> None:
        with client.stream("container.exec", {"name": name, "cmd": ["true"]}) as stream:
            stream.send_input(None)
            for _ in stream:
                pass
            stream.result()

    show("exec of true over RPC", [timed_ms(once) for _ in range(EXECS)])


def remove_all(agent: Agent, names: list[str]) -> None:
    with open_sync_client(agent.host) as client:
        alone = names[:EXECS]
        show("rm -f of one that runs", [
            timed_ms(lambda name=name: client.call("container.rm", {"name": name, "force": True}))
            for name in alone
        ])  # fmt: skip
        rest = names[EXECS:]

        def all_at_once() -> None:
            calls = [{"name": name, "force": True} for name in rest]
            for stream in [client.stream("container.rm", each) for each in calls]:
                stream.result()

        line(f"rm -f of {len(rest)} at once", timed_ms(all_at_once) / 1e3, "s")


def keep_bytecode(top: str) -> None:
    """Let the agents find their modules compiled, as installed ones do."""
    os.environ["PYTHONPYCACHEPREFIX"] = top
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    words = "import nodeagent.__main__, nodeagent.daemon, nodeagent.cli.app"
    subprocess.run([sys.executable, "-c", words], check=True, env=env)


def main() -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory(prefix="nb-") as top:
        keep_bytecode(top)
        bench()


def bench() -> None:
    most = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS[-1]
    print(f"{os.cpu_count()} CPUs, kernel {platform.release()}, load {os.getloadavg()[0]:.1f}")
    steps = [0, *(step for step in STEPS if step <= most)]
    with open_namespace() as space, open_agent(space) as agent:
        with open_sync_client(agent.host) as client:
            with client.stream("image.import", {"ref": "busybox"}) as stream:
                stream.send_input(build_busybox())
                stream.send_input(None)
                stream.result()
            client.call("network.create", {"name": "demo", "subnets": [{"subnet": "10.77.0.0/22"}]})
        bench_memory(agent, 0)
        bench_restart(agent, 0)
        names: list[str] = []
        for before, count in itertools.pairwise(steps):
            fresh = [f"c{n}" for n in range(before, count)]
            line(f"start {len(fresh)} more, {WAYS} at a time", start_many(agent, fresh), "s")
            names += fresh
            bench_memory(agent, count)
            bench_restart(agent, count)
            bench_memory(agent, count)
        with open_sync_client(agent.host) as client:
            bench_exec(client, names[0])
        remove_all(agent, names)


if __name__ == "__main__":
    main()

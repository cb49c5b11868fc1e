"""What the agent costs: container start, RPC, names, memory, scrape; printed, never asserted.

Run as root: ``python -m tests.bench.agent_bench``. Everything happens in namespaces of its own.
The bare runtime is measured in the same run, in turns with the agent: an overlay mount, then
``crun create`` and ``crun start`` of the same program (in a private mount namespace without the
empty cgroup2 mount, where crun refuses hybrid hosts).
"""

import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nodeagent.rpc.sync_client import SyncClient, open_sync_client
from tests.system.harness.agent import Agent, open_agent
from tests.system.harness.images import build_busybox
from tests.system.harness.namespace import open_namespace, run

ROUNDS = 30
CROWD = 100
CALLS = 2000
DNS_S = 4
SCRAPES = 20
CGROUP2 = "/sys/fs/cgroup/unified"


def show(name: str, values_ms: list[float], unit: str = "ms") -> None:
    ordered = sorted(values_ms)
    low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    middle = statistics.median(ordered)
    print(f"{name:<52} {middle:9.2f} {unit}  (p10 {low:.2f}, p90 {high:.2f}, n {len(ordered)})")


def timed_ms(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1e3


# --- bare -------------------------------------------------------------------------------------


class Bare:
    """crun by hand: what any agent pays at least."""

    def __init__(self, top: Path, rootfs_tar: bytes) -> None:
        self.top = top
        (top / "lower").mkdir()
        subprocess.run(["tar", "-x", "-C", top / "lower"], input=rootfs_tar, check=True)
        self._hybrid = os.path.ismount(CGROUP2)

    def once(self, number: int) -> float:
        """Milliseconds from nothing to the running program."""
        name, place = f"bare{os.getpid()}-{number}", self.top / str(number)
        for folder in ("upper", "work", "rootfs"):
            (place / folder).mkdir(parents=True)
        crun = ["crun", "--cgroup-manager=cgroupfs", "--root", str(self.top / "state")]
        self._write_config(place, name)
        took = timed_ms(lambda: self._start(place, crun, name))
        self._crun([*crun, "delete", "--force", name])
        run(["umount", str(place / "rootfs")])
        return took

    def _start(self, place: Path, crun: list[str], name: str) -> None:
        layers = f"lowerdir={self.top}/lower,upperdir={place}/upper,workdir={place}/work"
        run(["mount", "-t", "overlay", "-o", layers, "overlay", str(place / "rootfs")])
        self._crun([*crun, "create", "--bundle", str(place), name])
        self._crun([*crun, "start", name])

    def _crun(self, argv: list[str]) -> None:
        if self._hybrid:
            hide = f'umount {CGROUP2}; exec "$0" "$@"'
            argv = ["unshare", "-m", "--propagation", "private", "sh", "-c", hide, *argv]
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)

    def _write_config(self, place: Path, name: str) -> None:
        run(["crun", "spec", "--bundle", str(place)])
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
        config["process"] |= {"args": ["sleep", "1000"], "terminal": False}
        config["process"].pop("rlimits", None)
        config["linux"]["cgroupsPath"] = f"/{name}"
        (place / "config.json").write_text(json.dumps(config))


# --- the agent ----------------------------------------------------------------------------------


def start_one(client: SyncClient, name: str, mode: str) -> float:
    request = {"image": "busybox", "name": name, "cmd": ["sleep", "1000"], "network_mode": mode}

    def both() -> None:
        client.call("container.create", request)
        client.call("container.start", {"name": name})

    return timed_ms(both)


def bench_start(client: SyncClient, bare: Bare) -> None:
    found: dict[str, list[float]] = {"bare": [], "none": [], "demo": []}
    removal = []
    for n in range(ROUNDS):
        found["bare"].append(bare.once(n))
        for mode in ("none", "demo"):
            found[mode].append(start_one(client, f"x-{mode}", mode))
            rm = {"name": f"x-{mode}", "force": True}
            removal.append(timed_ms(lambda rm=rm: client.call("container.rm", rm)))
    show("overlay mount + crun create + start, by hand", found["bare"])
    show("create + start over RPC, network none", found["none"])
    show("create + start over RPC, bridge network", found["demo"])
    show("rm -f over RPC", removal)
    over = statistics.median(found["demo"]) - statistics.median(found["bare"])
    print(f"{'bridge network over bare':<52} {over:9.2f} ms  (aim: at most 25)")


def bench_calls(client: SyncClient) -> None:
    show("system.ping, one after the other", [
        timed_ms(lambda: client.call("system.ping")) * 1e3 for _ in range(CALLS)
    ], "us")  # fmt: skip

    def burst() -> None:
        for stream in [client.stream("system.ping") for _ in range(200)]:
            stream.result()

    burst()
    took_ms = timed_ms(lambda: [burst() for _ in range(20)])
    print(f"{'RPC calls/s, 200 in flight (Python client)':<52} {4000 / took_ms * 1e3:9.0f} /s")


def resident_mb(agent: Agent) -> float:
    text = Path(f"/proc/{agent.pid}/smaps_rollup").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(fields["Rss"].split()[0]) / 1024


def bench_crowd(agent: Agent, client: SyncClient) -> None:
    print(f"{'agent memory, 0 containers (RSS)':<52} {resident_mb(agent):9.1f} MiB")
    names = [f"crowd{n}" for n in range(CROWD)]
    request = {"image": "busybox", "cmd": ["sleep", "1000"], "network_mode": "demo"}

    def start_all() -> None:
        for stream in [
            client.stream("container.create", request | {"name": name}) for name in names
        ]:
            stream.result()
        for stream in [client.stream("container.start", {"name": name}) for name in names]:
            stream.result()

    print(f"{f'start {CROWD} at once, one connection':<52} {timed_ms(start_all) / 1e3:9.2f} s")
    print(f"{'agent memory, 100 containers (RSS)':<52} {resident_mb(agent):9.1f} MiB  (aim: 80)")
    show("container.ls with 100", [
        timed_ms(lambda: client.call("container.ls", {})) for _ in range(SCRAPES)
    ])  # fmt: skip
    scrapes = []
    size = 0
    for _ in range(SCRAPES):
        done = agent.space.run(
            "curl", "-s", "-o", "/dev/null", "-w", "%{time_total} %{size_download}",
            "http://127.0.0.1:9323/metrics",
        )  # fmt: skip
        took, _, length = done.stdout.partition(" ")
        scrapes.append(float(took) * 1e3)
        size = int(length)
    show(f"/metrics with 100 containers ({size // 1024} KiB)", scrapes)
    begin = time.perf_counter()
    agent.kill()
    agent.start()
    print(f"{'kill -9 to ready again, 100 adopted':<52} {time.perf_counter() - begin:9.2f} s")
    with open_sync_client(agent.host) as again:

        def remove_all() -> None:
            for stream in [
                again.stream("container.rm", {"name": name, "force": True}) for name in names
            ]:
                stream.result()

        print(f"{f'rm -f {CROWD} at once':<52} {timed_ms(remove_all) / 1e3:9.2f} s")


def bench_names(agent: Agent, client: SyncClient, top: Path) -> None:
    """dnsperf in a container's namespace on core 0, the agent alone on core 1."""
    start_one(client, "asker", "demo")
    view = client.call("container.inspect", {"names": ["asker"]})[0]
    queries = top / "queries"
    queries.write_text("asker A\n", encoding="utf-8")
    cores = os.sched_getaffinity(agent.pid)
    os.sched_setaffinity(agent.pid, {max(cores)})
    before = cpu_s(agent.pid)
    try:
        done = run([
            "nsenter", f"--net={view['NetworkSettings']['SandboxKey']}", "taskset", "-c",
            str(min(cores)), "dnsperf", "-s", "127.0.0.11", "-d", str(queries), "-c", "8", "-q",
            "100", "-l", str(DNS_S),
        ])  # fmt: skip
    finally:
        os.sched_setaffinity(agent.pid, cores)
    used_s = cpu_s(agent.pid) - before
    pairs = [line.split(":") for line in done.stdout.splitlines() if line.count(":") == 1]
    words = {key.strip(): value.split()[0] for key, value in pairs if value.strip()}
    rate = float(words["Queries per second"])
    count = int(words["Queries completed"])
    print(f"{'DNS answers/s in a container (127.0.0.11:53)':<52} {rate:9.0f} /s  (aim: 50,000)")
    print(f"{'agent CPU per answer':<52} {used_s / count * 1e6:9.1f} us")
    print(f"{'queries lost':<52} {words['Queries lost']:>9}")
    client.call("container.rm", {"name": "asker", "force": True})


def cpu_s(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _workplace() -> Iterator[Path]:
    top = Path(tempfile.mkdtemp(prefix="nb-", dir="/tmp"))
    try:
        yield top
    finally:
        shutil.rmtree(top)


def main() -> None:
    """Print all figures."""
    cpus, kernel = os.cpu_count(), platform.release()
    print(f"{cpus} CPUs, kernel {kernel}, Python {platform.python_version()}")
    busybox = build_busybox()
    with (
        _workplace() as top,
        open_namespace() as space,
        open_agent(space) as agent,
        open_sync_client(agent.host) as client,
    ):
        with client.stream("image.import", {"ref": "busybox"}) as stream:
            stream.send_input(busybox)
            stream.send_input(None)
            stream.result()
        client.call("network.create", {"name": "demo"})
        bench_start(client, Bare(top, busybox))
        bench_calls(client)
        bench_names(agent, client, top)
        bench_crowd(agent, client)


if __name__ == "__main__":
    main()

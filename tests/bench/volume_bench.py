"""What volumes cost: attaching, snapshots, counting files, and writing through them.

Run as root: ``python -m tests.bench.volume_bench``. All pairs are taken in turns in one run.
Writing is measured with one program in the mounts of a container and in a directory beside the
volumes; each time with fsync.
"""

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import trio

from nodeagent.rpc.sync_client import SyncClient, open_sync_client
from tests.system.harness.agent import Agent, open_agent
from tests.system.harness.images import build_busybox
from tests.system.harness.namespace import open_namespace
from voldrivers.contract import VolumeSpec
from voldrivers.local import Local

ROUNDS = 15
GIB = 1 << 30
WRITES = 7
WRITE_MIB = 512
FILES = 1_000_000
WRITE_AIM = 0.97


def timed_ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def show(name: str, values: list[float], unit: str = "ms") -> float:
    middle = statistics.median(values)
    low, high = min(values), max(values)
    print(f"{name:<58}{middle:9.2f} {unit} ({low:.2f}-{high:.2f})", flush=True)
    return middle


# --- attach -------------------------------------------------------------------------------------


def bench_attach(client: SyncClient) -> None:
    """Start of a container that has them mounted, and its removal."""
    counts = {"none": 0, "1 local": 1, "10 local": 10, "1 tmpfs": 1, "1 image": 1}
    for kind, n in counts.items():
        driver = kind.split()[-1]
        for number in range(n):
            options = {"size": "64m"} if driver == "image" else {}
            params = {"name": f"{driver}{number}", "driver": driver, "options": options}
            client.call("volume.create", params)
    up: dict[str, list[float]] = {kind: [] for kind in counts}
    down: dict[str, list[float]] = {kind: [] for kind in counts}
    for _ in range(ROUNDS):
        for kind, n in counts.items():
            driver = kind.split()[-1]
            mounts = [
                {"type": "volume", "source": f"{driver}{i}", "target": f"/v{i}"} for i in range(n)
            ]
            made = client.call_as(
                dict[str, object],
                "container.create",
                {
                    "image": "busybox", "network_mode": "none", "cmd": ["sleep", "1000"],
                    "mounts": mounts, "name": "bench",
                },
            )  # fmt: skip
            name = {"name": str(made["id"])}
            up[kind].append(timed_ms(lambda name=name: client.call("container.start", name)))
            gone = {**name, "force": True}
            down[kind].append(timed_ms(lambda gone=gone: client.call("container.rm", gone)))
    for kind in counts:
        start = show(f"start with volumes: {kind}", up[kind])
        print(f"{'':<58}{start - statistics.median(up['none']):+9.2f} ms beside none")
    for kind in counts:
        show(f"rm -f with volumes: {kind}", down[kind])


# --- snapshots ----------------------------------------------------------------------------------


def bench_snapshots(agent: Agent, client: SyncClient) -> None:
    """Of 1 GiB, by what the file system can; beside cp."""
    for name, options in (("disk", {"size": "2g"}), ("cow", {"size": "3g", "fs": "btrfs"})):
        client.call("volume.create", {"name": name, "driver": "image", "options": options})
    client.call("volume.create", {"name": "plain"})
    fill = "dd if=/dev/urandom of=/d/file bs=1M count=1024 2>/dev/null && sync"
    for name in ("plain", "disk"):
        agent.cli("run", "--rm", "-v", f"{name}:/d", "busybox", "sh", "-c", fill)
    for name in ("plain", "disk"):
        took = []
        for n in range(3):
            made: dict[str, object] = {}

            def work(name: str = name, n: int = n, made: dict[str, object] = made) -> None:
                params = {"name": name, "label": f"s{n}"}
                made |= client.call_as(dict[str, object], "volume.snapshot", params)

            took.append(timed_ms(work))
            client.call("volume.rm", {"name": f"{name}@s{n}"})
        show(f"snapshot of 1 GiB, {name} ({made['Method']})", took)
    source = agent.root / "volumes/plain/_data/file"
    copies = [agent.root / f"copy{n}" for n in range(3)]
    took = [timed_ms(lambda to=to: copy_and_sync(source, to)) for to in copies]
    show("cp of 1 GiB and sync, beside it", took)
    for path in copies:
        path.unlink()
    trio.run(bench_reflink, agent, client)


def copy_and_sync(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--reflink=never", source, target], check=True)
    subprocess.run(["sync", "-f", target], check=True)


async def bench_reflink(agent: Agent, client: SyncClient) -> None:
    """The same where blocks are shared: a local driver on btrfs."""
    agent.cli("run", "-d", "--name", "holder", "-v", "cow:/d", "busybox", "sleep", "1000")
    view = client.call_as(list[dict[str, object]], "volume.inspect", {"names": ["cow"]})[0]
    driver, volume = Local(Path(str(view["Mountpoint"]))), VolumeSpec(name="data")
    await driver.create(volume)
    file = driver.mountpoint(volume) / "file"
    await trio.run_process(
        ["dd", "if=/dev/urandom", f"of={file}", "bs=1M", "count=1024"], capture_stderr=True
    )
    took, method = [], ""
    for n in range(5):
        began = time.perf_counter()
        method = await driver.clone(volume, VolumeSpec(name=f"data@s{n}"))
        took.append((time.perf_counter() - began) * 1e3)
    show(f"snapshot of 1 GiB, local on btrfs ({method})", took)
    agent.cli("rm", "-f", "holder")


# --- usage --------------------------------------------------------------------------------------


async def look_ms(driver: Local, volume: VolumeSpec) -> float:
    began = time.perf_counter()
    await driver.usage(volume)
    return (time.perf_counter() - began) * 1e3


async def bench_usage(root: Path) -> None:
    """A million empty files on tmpfs."""
    driver, volume = Local(root), VolumeSpec(name="data")
    await driver.create(volume)
    for folder in range(FILES // 1000):
        place = driver.mountpoint(volume) / f"{folder}"
        place.mkdir()
        for n in range(1000):
            os.close(os.open(place / f"{n}", os.O_CREAT | os.O_WRONLY))
    began, looks = time.perf_counter(), []
    while (usage := await driver.usage(volume)).inodes < 0:
        looks.append((time.perf_counter() - began) * 1e3 - sum(looks))
        await trio.sleep(0.2)
    through = time.perf_counter() - began
    print(f"1,000,000 files: first look {looks[0]:.0f} ms, told as unknown; {usage.inodes} counted")
    print(f"by {len(looks) + 1} looks, through after {through:.1f} s")
    show("look at 1,000,000 files, once counted", [await look_ms(driver, volume)])


# --- writing ------------------------------------------------------------------------------------


def bench_writing(agent: Agent, client: SyncClient) -> None:
    client.call("volume.create", {"name": "write"})
    client.call("volume.create", {"name": "writeimg", "driver": "image", "options": {"size": "2g"}})
    bare = agent.root / "bare"
    bare.mkdir()
    dd = f"dd if=/dev/zero of=FILE bs=1M count={WRITE_MIB} conv=fsync"
    rates: dict[str, list[float]] = {"bare": [], "local": [], "image": []}
    for name, volume in (("local", "write"), ("image", "writeimg")):
        agent.cli("run", "-d", "--name", name, "-v", f"{volume}:/d", "busybox", "sleep", "10000")
    for _ in range(WRITES):
        for name in rates:
            where = str(bare / "file") if name == "bare" else "/d/file"
            command = dd.replace("FILE", where).split()
            # the same program in the same cgroup's reach: nsenter into the mounts of the container
            enter = [] if name == "bare" else ["nsenter", "-t", str(agent.pid_of(name)), "-m"]
            argv = [*enter, "/bin/busybox", *command]
            seconds = timed_ms(
                lambda argv=argv: subprocess.run(argv, check=True, capture_output=True)
            )
            rates[name].append(WRITE_MIB / seconds * 1e3)
    bare_rate = show("write and fsync, directory beside the volumes", rates["bare"], "MiB/s")
    for name in ("local", "image"):
        ratio = show(f"write and fsync, {name} volume", rates[name], "MiB/s") / bare_rate
        aim = f"; aim {WRITE_AIM}" if name == "local" else ""
        print(f"{'':<58}{ratio:9.2f} of the directory{aim}")
    agent.cli("rm", "-f", "local", "image")


def main() -> None:
    with open_namespace() as space, open_agent(space) as agent:
        with tempfile.NamedTemporaryFile(suffix=".tar") as tar:
            tar.write(build_busybox())
            tar.flush()
            agent.cli("image", "import", tar.name, "busybox:latest")
        with open_sync_client(agent.host) as client:
            bench_attach(client)
            bench_writing(agent, client)
            bench_snapshots(agent, client)
        agent.remove_all()
    with tempfile.TemporaryDirectory() as top:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=0,size=4g", "x", top], check=True)
        try:
            trio.run(bench_usage, Path(top))
        finally:
            subprocess.run(["umount", "-l", top], check=True)


if __name__ == "__main__":
    main()

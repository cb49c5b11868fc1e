import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import trio

from runtime.container import supervisor
from runtime.container.lifecycle import ContainerRuntime
from runtime.contract import Limits, MountPoint, ProcessSpec
from runtime.errors import Conflict, Invalid, Missing, Refused, Unavailable


@pytest.mark.parametrize(("command", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", None)])
async def test_exit_code_is_the_programs_own(box, command, code):
    end = await box.finish(await box.run("sh", "-c", command))
    # PID 1 of a namespace cannot kill itself: the shell goes on and ends with 0
    assert end.code == (0 if code is None else code)
    assert not end.oom_killed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, 137), (signal.SIGTERM, 143)])
async def test_signals_end_it(box, number, code):
    handler = "trap 'exit 143' TERM; echo up; while :; do sleep 0.05; done"
    container_id = await box.run("sh", "-c", handler)
    with trio.fail_after(10):
        lines = box.rt.logs(container_id, follow=True, since_ns=0, until_ns=0, tail=-1)
        async with contextlib.aclosing(lines):
            await anext(lines)
        await box.rt.kill(container_id, number)
    assert (await box.finish(container_id)).code == code
    with pytest.raises(Missing):
        await box.rt.kill(container_id, number)


async def test_many_waiters_hear_the_same_end(box):
    container_id = await box.run("sh", "-c", "sleep 0.1; exit 7")
    ends = []

    async def wait():
        ends.append(await box.finish(container_id))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(wait)
    assert [end.code for end in ends] == [7] * 5
    assert len({end.finished_at for end in ends}) == 1


async def test_missing_command_is_127_and_leaves_nothing(box):
    with pytest.raises(Missing) as caught:
        await box.run("no-such-program")
    assert caught.value.fields["exit_code"] == 127
    assert box.leaks() == []


async def test_not_executable_is_126_and_leaves_nothing(box):
    with pytest.raises(Refused) as caught:
        await box.run("/etc/passwd")
    assert caught.value.fields["exit_code"] == 126
    assert box.leaks() == []


@pytest.mark.parametrize(
    ("user", "groups", "says"),
    [
        ("", (), "uid=0 gid=0"),
        ("bob", (), "uid=1000 gid=1001 groups=10,1001"),
        ("bob:disk", (), "uid=1000 gid=6"),
        ("1234:5678", ("disk",), "uid=1234 gid=5678 groups=6"),
    ],
)
async def test_users_are_those_of_the_image(box, user, groups, says):
    said = await box.output("id", user=user, groups=groups)
    numbers = {
        part.split("=")[0]: {n.split("(")[0] for n in part.split("=")[1].split(",")}
        for part in said.split()
    }
    for part in says.split():
        name, _, values = part.partition("=")
        assert set(values.split(",")) <= numbers.get(name, set()), (says, said)


async def test_unknown_user_is_invalid(box):
    with pytest.raises(Invalid, match="nobody-here"):
        await box.run("true", user="nobody-here")
    assert box.leaks() == []


async def test_hostile_passwd_link_does_not_reach_the_host(box):
    (box.base / "secret").write_text("eve:x:4242:4242::/:/bin/sh\n")
    passwd = box.rootfs / "etc/passwd"
    passwd.unlink()
    passwd.symlink_to(f"../../../../../../../..{box.base}/secret")
    with pytest.raises(Invalid):
        await box.run("true", user="eve")


async def test_default_rights(box):
    said = await box.output("cat", "/proc/self/status")
    status = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
    assert status["CapEff"].strip() == status["CapBnd"].strip() == "00000000a80425fb"
    assert status["CapInh"].strip() == status["CapAmb"].strip() == "0000000000000000"
    assert status["Seccomp"].strip() == "2"
    assert status["NoNewPrivs"].strip() == "0"


async def test_changed_rights(box):
    said = await box.output(
        "cat", "/proc/self/status", cap_add=("NET_ADMIN",), cap_drop=("ALL",),
        seccomp="unconfined", no_new_privileges=True,
    )  # fmt: skip
    status = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
    assert int(status["CapEff"], 16) == 1 << 12
    assert status["Seccomp"].strip() == "0"
    assert status["NoNewPrivs"].strip() == "1"


async def test_user_but_root_holds_no_capability(box):
    said = await box.output("cat", "/proc/self/status", user="bob")
    assert "CapEff:\t0000000000000000" in said


async def test_seccomp_refuses_what_is_not_named(box):
    assert (
        await box.output("sh", "-c", "unshare -m true 2>/dev/null || echo refused") == "refused\n"
    )


async def test_paths_are_masked_and_read_only(box):
    script = "cat /proc/kcore | head -c 1; ls /proc/scsi /sys/firmware; echo x >/proc/sys/kernel/hostname"
    said = await box.output("sh", "-c", f"{script} || echo refused")
    assert "read-only" in said.lower()
    assert "refused\n" in said
    assert "mem" not in said


async def test_privileged_has_what_the_agent_has(box):
    said = await box.output("cat", "/proc/self/status", privileged=True)
    own = Path("/proc/self/status").read_text()
    line = next(line for line in own.splitlines() if line.startswith("CapBnd"))
    assert line in said
    assert "Seccomp:\t0" in said


async def test_read_only_root(box):
    said = await box.output(
        "sh", "-c", "touch /x 2>/dev/null; echo $? >/dev/shm/a; ls /", read_only=True
    )
    assert "x\n" not in said


async def test_hostname_env_and_directory(box):
    script = "cat /proc/sys/kernel/hostname; pwd; echo $A-$HOME"
    said = await box.output("sh", "-c", script, env=("A=b",), cwd="/new/deep", user="bob")
    assert said == "box\n/new/deep\nb-/home/bob\n"


async def test_mounts(box):
    volume = box.base / "volume"
    volume.mkdir()
    (volume / "f").write_text("from the host\n")
    mounts = (
        MountPoint(type="bind", source=str(volume), target="/data"),
        MountPoint(type="bind", source=str(volume), target="/ro", read_only=True),
        MountPoint(type="tmpfs", source="", target="/t", options=("size=1m",)),
    )
    script = "cat /data/f; echo y >/data/g; echo z >/ro/h || echo refused; dd if=/dev/zero of=/t/x bs=1k count=2000 || echo full"
    said = await box.output("sh", "-c", script, mounts=mounts)
    assert "from the host" in said
    assert "refused" in said
    assert "full" in said
    assert (volume / "g").read_text() == "y\n"


async def test_ulimits_are_cut_to_what_the_agent_may_give(box):
    limits = {"nofile": (1 << 20, 1 << 20), "core": (0, 0)}
    said = await box.output("cat", "/proc/self/limits", ulimits=limits)
    import resource

    top = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    line = next(line for line in said.splitlines() if line.startswith("Max open files"))
    assert int(line.split()[4]) in {top, 1 << 20}


async def test_limits_reach_the_kernel(box):
    limits = Limits(
        memory_bytes=64 << 20, nano_cpus=500_000_000, pids=77, cpu_shares=512, cpuset_cpus="0",
        oom_score_adj=300,
    )  # fmt: skip
    container_id = await box.run("sleep", "60", limits=limits)
    usage = box.rt.usage(container_id)
    assert usage.memory_limit_bytes == 64 << 20
    assert usage.pids_limit == 77
    assert usage.pids == 1
    assert 0 < usage.memory_bytes < 64 << 20
    assert usage.cpu_ns >= 0
    quota = [
        path.read_text()
        for path in Path("/sys/fs/cgroup").glob(
            f"cpu*/{box.parent}/{container_id}/cpu.cfs_quota_us"
        )
    ]
    quota += [
        path.read_text()
        for path in Path("/sys/fs/cgroup").glob(f"{box.parent}/{container_id}/cpu.max")
    ]
    assert quota[0].split()[0] == "50000"
    pid = (await box.rt.top(container_id))[0]
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "300"


async def test_memory_limit_kills_and_says_so(box):
    eat = "a=$(yes | head -c 200000000 | tr -d '\\n'); echo done"
    end = await box.finish(await box.run("sh", "-c", eat, limits=Limits(memory_bytes=16 << 20)))
    assert end.oom_killed
    assert end.code != 0


async def test_pause_stops_it_and_unpause_goes_on(box):
    container_id = await box.run("sh", "-c", "while :; do sleep 0.01; echo x; done")
    await box.rt.pause(container_id)
    assert [found.state for found in await box.rt.scan()] == ["paused"]
    size = box.rt.log_path(container_id).stat().st_size
    await trio.sleep(0.1)
    assert box.rt.log_path(container_id).stat().st_size - size < 100
    await box.rt.unpause(container_id)
    assert [found.state for found in await box.rt.scan()] == ["running"]


async def test_paused_container_can_be_deleted(box):
    container_id = await box.run("sleep", "60")
    await box.rt.pause(container_id)
    await box.rt.delete(container_id)
    assert box.leaks() == []


async def test_scan_tells_states_apart_and_a_new_agent_waits(box):
    created = box.spec("sleep", "60")
    process = await box.rt.create(created)
    running = await box.run("sh", "-c", "sleep 0.4; exit 9")
    exited = await box.run("sh", "-c", "exit 4")
    await box.finish(exited)
    again = box.another()
    await again.open()
    found = {each.id: each for each in await again.scan()}
    assert found[created.id].state == "created"
    assert found[created.id].process == process
    assert found[running].state == "running"
    assert found[exited].exit.code == 4
    with trio.fail_after(10):
        assert (await again.wait_exit(running)).code == 9
    await again.start(created.id)
    await again.delete(created.id)


async def test_half_made_bundle_is_a_leftover(box):
    spec = box.spec("true")
    (box.base / "root/containers" / spec.id / "bundle").mkdir(parents=True)
    assert [found.state for found in await box.rt.scan()] == ["leftover"]
    with pytest.raises(Conflict):
        await box.rt.create(spec)


async def test_conmon_killed_ends_the_container_with_an_unknown_code(box):
    spec = box.spec("sleep", "60")
    process = await box.rt.create(spec)
    await box.rt.start(spec.id)
    os.kill(process.conmon_pid, signal.SIGKILL)
    end = await box.finish(spec.id)
    assert end.code == 255
    assert not supervisor.is_alive(process.pid, process.started_ticks)
    assert [found.state for found in await box.rt.scan()] == ["exited"]


async def test_conmon_killed_while_the_agent_was_down(box):
    spec = box.spec("sleep", "60")
    process = await box.rt.create(spec)
    await box.rt.start(spec.id)
    os.kill(process.conmon_pid, signal.SIGKILL)
    again = box.another()
    await again.open()
    assert [(each.state, each.exit.code) for each in await again.scan()] == [("exited", 255)]


async def test_delete_is_idempotent_and_ends_what_runs(box):
    container_id = await box.run("sh", "-c", "sleep 60 & sleep 60 & wait")
    await box.rt.delete(container_id)
    await box.rt.delete(container_id)
    assert box.leaks() == []
    assert box.rt.log_path(container_id).exists()
    await box.rt.remove_logs(container_id)
    assert not box.rt.log_path(container_id).exists()


async def test_twenty_at_once(box):
    ends = {}

    async def one(number):
        container_id = await box.run("sh", "-c", f"exit {number}")
        ends[number] = (await box.finish(container_id)).code
        await box.rt.delete(container_id)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(one, number)
    assert ends == {number: number for number in range(20)}
    assert box.leaks() == []


@pytest.mark.parametrize("after_ms", [1, 4, 8, 12, 16, 20, 25, 30, 40, 60])
async def test_cancelled_create_leaves_nothing(box, after_ms):
    spec = box.spec("sleep", "60")
    with trio.move_on_after(after_ms / 1000):
        await box.rt.create(spec)
    await box.rt.delete(spec.id)
    assert box.leaks() == []


AGENT = """
import sys, trio
from pathlib import Path
from runtime.container.lifecycle import ContainerRuntime
from runtime.contract import ContainerSpec, ProcessSpec

async def main(root, run, rootfs, parent, runtime, cid, start):
    rt = ContainerRuntime(Path(root), Path(run), cgroup_parent=parent, runtime=runtime)
    await rt.open()
    print("open", flush=True)
    spec = ContainerSpec(id=cid, name="x", rootfs=Path(rootfs), hostname="h", netns="",
        process=ProcessSpec(args=("sh", "-c", "sleep 0.5; exit 5")))
    await rt.create(spec)
    if start == "start":
        await rt.start(cid)
    print("ready", flush=True)
    await trio.sleep_forever()

trio.run(main, *sys.argv[1:])
"""


def start_agent(box, container_id, start):
    args = [box.base / "root", box.base / "run", box.rootfs, box.parent, box.runtime]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(AGENT), *map(str, args), container_id, start],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )


@pytest.mark.parametrize("start", ["create", "start"])
async def test_agent_killed_and_started_again(box, start):
    container_id = box.spec("true").id
    with start_agent(box, container_id, start) as agent:
        assert agent.stdout.readline() == b"open\n"
        assert agent.stdout.readline() == b"ready\n"
        agent.kill()
    again = box.another()
    await again.open()
    (found,) = await again.scan()
    assert found.state == {"create": "created", "start": "running"}[start]
    if start == "create":
        await again.start(container_id)
    with trio.fail_after(10):
        assert (await again.wait_exit(container_id)).code == 5


@pytest.mark.parametrize("after_ms", [0, 2, 5, 8, 12, 16, 20, 25, 30])
async def test_agent_killed_in_the_middle_of_create(box, after_ms):
    container_id = box.spec("true").id
    with start_agent(box, container_id, "create") as agent:
        assert agent.stdout.readline() == b"open\n"
        await trio.sleep(after_ms / 1000)
        agent.kill()
    again = box.another()
    await again.open()
    for found in await again.scan():
        assert found.id == container_id
        assert found.state in {"leftover", "created"}
    await again.delete(container_id)
    assert box.leaks() == []


async def test_no_runtime_is_unavailable_and_names_what_was_tried(tmp_path, monkeypatch):
    monkeypatch.setattr("runtime.container.oci.CHILD_PATH", str(tmp_path))
    rt = ContainerRuntime(tmp_path / "root", tmp_path / "run", cgroup_parent="x")
    with pytest.raises(Unavailable, match="conmon"):
        await rt.open()
    with pytest.raises(Unavailable):
        rt.runtime_name()

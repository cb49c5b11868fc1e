"""What a container is like inside."""

import json
import resource
from contextlib import aclosing
from pathlib import Path

import pytest

from runtime.contract.container import Limits, MountPoint
from runtime.contract.logs import Query
from runtime.errors import Invalid


def slurp(path) -> str:
    return Path(path).read_text(encoding="utf-8")


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
    script = "cat /proc/kcore | head -c 1; ls /proc/scsi /sys/firmware"
    script += "; echo x >/proc/sys/kernel/hostname"
    said = await box.output("sh", "-c", f"{script} || echo refused")
    assert "read-only" in said.lower()
    assert "refused\n" in said
    assert "mem" not in said


async def test_privileged_has_what_the_agent_has(box):
    said = await box.output("cat", "/proc/self/status", privileged=True)
    own = slurp("/proc/self/status")
    line = next(line for line in own.splitlines() if line.startswith("CapBnd"))
    assert line in said
    assert "Seccomp:\t0" in said


async def test_read_only_root(box):
    script = "touch /x 2>/dev/null || echo refused; touch /dev/shm/y && echo shm"
    assert await box.output("sh", "-c", script, read_only=True) == "refused\nshm\n"


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
    script = "cat /data/f; echo y >/data/g; echo z >/ro/h || echo refused"
    script += "; dd if=/dev/zero of=/t/x bs=1k count=2000 || echo full"
    said = await box.output("sh", "-c", script, mounts=mounts)
    assert "from the host" in said
    assert "refused" in said
    assert "full" in said
    assert (volume / "g").read_text() == "y\n"


async def test_ulimits_are_cut_to_what_the_agent_may_give(box):
    limits = {"nofile": (1 << 20, 1 << 20), "core": (0, 0)}
    said = await box.output("cat", "/proc/self/limits", ulimits=limits)
    top = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    line = next(line for line in said.splitlines() if line.startswith("Max open files"))
    assert int(line.split()[4]) in {top, 1 << 20}


async def test_limits_reach_the_kernel(box):
    limits = Limits(
        memory_bytes=64 << 20, nano_cpus=500_000_000, pids=77, cpu_shares=512, cpuset_cpus="0",
        oom_score_adj=300,
    )  # fmt: skip
    container_id = await box.run("sh", "-c", "echo up; exec sleep 60", limits=limits)
    follow = box.rt.logbook.read(container_id, Query(follow=True))
    async with aclosing(follow) as lines:  # by then the runtime's own threads are gone
        await anext(lines)
    usage = box.rt.usage(container_id)
    assert usage.memory_limit_bytes == 64 << 20
    assert usage.pids_limit == 77
    assert usage.pids == 1
    assert 0 < usage.memory_bytes < 64 << 20
    assert usage.cpu_ns >= 0
    files = ("cpu.cfs_quota_us", "cpu.max")
    quota = [slurp(d / f) for d in box.cgroups() for f in files if (d / f).exists()]
    assert quota[0].split()[0] == "50000"
    pid = (await box.rt.top(container_id))[0]
    assert slurp(f"/proc/{pid}/oom_score_adj").strip() == "300"


async def test_profile_of_the_user(box):
    profile = json.dumps(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64"}],
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
        }
    )
    said = await box.output("sh", "-c", "mkdir /tmp/x || echo refused", seccomp=profile)
    assert "refused\n" in said  # the words of mkdir may come before or after

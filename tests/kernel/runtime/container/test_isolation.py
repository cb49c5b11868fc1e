"""Containers beside each other: mounts, network namespaces, agents."""

import ctypes
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from runtime.container import bundle
from runtime.contract.container import MountPoint, ProcessSpec
from runtime.errors import Missing, Unavailable

MNT_DETACH = 2


def mount_overlay(box, name) -> Path:
    """A root of its own on the test's plain one, as the agent makes it for every container."""
    top = box.base / name
    for part in ("upper", "work", "merged"):
        (top / part).mkdir(parents=True)
    options = f"lowerdir={box.rootfs},upperdir={top}/upper,workdir={top}/work"
    libc = ctypes.CDLL(None, use_errno=True)
    merged = os.fsencode(top / "merged")
    if libc.mount(b"overlay", merged, b"overlay", 0, options.encode()):
        pytest.skip(f"no overlayfs here: errno {ctypes.get_errno()}")
    return top


def unmount(path: Path) -> int:
    """Not lazily: errno if something still uses it."""
    libc = ctypes.CDLL(None, use_errno=True)
    return ctypes.get_errno() if libc.umount2(os.fsencode(path), 0) else 0


def mount_namespaces_with(needle: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "mountinfo").read_text(encoding="utf-8")
                if needle in text:
                    found.append((entry / "cmdline").read_text(encoding="utf-8"))
            except OSError:
                continue
    return found


async def test_a_container_pins_no_mount_of_another(box):
    first = mount_overlay(box, "first")
    try:
        spec = replace(box.spec("sleep", "60"), rootfs=first / "merged")
        await box.rt.create(spec)
        await box.rt.start(spec.id)
        # made while the first one's mount exists
        later = await box.run("sleep", "60")
        await box.rt.delete(spec.id)
    finally:
        code = unmount(first / "merged")
    assert code == 0
    assert mount_namespaces_with(f"{first}/merged") == []
    shutil.rmtree(first)
    assert [found.state for found in await box.rt.scan() if found.id == later] == ["running"]


async def test_mount_made_after_the_agent_began_is_seen(box):
    volume = mount_overlay(box, "volume")
    try:
        mounts = (MountPoint(type="bind", source=str(volume / "merged"), target="/data"),)
        assert "busybox" in await box.output("ls", "/data/bin", mounts=mounts)
        await box.rt.delete(box.made[-1])
    finally:
        assert unmount(volume / "merged") == 0


async def test_network_namespace_by_path(box):
    with subprocess.Popen(["/usr/bin/unshare", "--net", "/bin/sleep", "60"]) as holder:  # noqa: ASYNC220
        try:
            path = f"/proc/{holder.pid}/ns/net"
            with trio.fail_after(5):
                while Path(path).samefile("/proc/self/ns/net"):  # noqa: ASYNC110, ASYNC240
                    await trio.sleep(0.002)
            wanted = os.stat(path).st_ino  # noqa: PTH116
            said = await box.output("stat", "-L", "-c", "%i", "/proc/self/ns/net", netns=path)
            assert int(said) == wanted
        finally:
            holder.kill()


async def test_two_agents_do_not_see_each_other(box, tmp_path):
    other = type(box)(tmp_path / "other", box.rootfs, box.runtime, f"{box.parent}-b")
    await other.open()
    try:
        mine = await box.run("sleep", "60")
        theirs = await other.run("sleep", "60")
        assert [found.id for found in await box.rt.scan()] == [mine]
        assert [found.id for found in await other.rt.scan()] == [theirs]
        with pytest.raises(Missing):
            await box.rt.kill(theirs, 9)
    finally:
        for container_id in other.made:
            await other.rt.delete(container_id)
        other.remove_parent()
    assert other.leaks() == []


async def test_waiter_of_a_deleted_container_is_told(box):
    container_id = await box.run("sleep", "60")
    heard = []

    async def wait():
        try:
            heard.append((await box.rt.wait_exit(container_id)).code)
        except Missing:
            heard.append("missing")

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await box.rt.delete(container_id)
    assert heard in ([137], ["missing"])


async def test_client_that_never_reads_does_not_keep_a_container(box):
    spec = box.spec("sh", "-c", "yes 0123456789")
    await box.rt.create(spec)
    with trio.fail_after(15):
        async with box.rt.attach(spec.id):
            await box.rt.start(spec.id)
            await trio.sleep(0.2)
            await box.rt.delete(spec.id)
    assert box.leaks() == []


async def test_init_is_the_first_process(box):
    if not any(Path(path).exists() for path in bundle.INITS):  # noqa: ASYNC240
        pytest.skip("needs catatonit, docker-init or tini-static")
    assert (await box.output("cat", "/proc/1/cmdline", init=True)).startswith("/dev/init\0--\0cat")


async def test_missing_init_names_its_package(box, monkeypatch):
    monkeypatch.setattr(bundle, "INITS", ())
    with pytest.raises(Unavailable, match="catatonit"):
        await box.run("true", init=True)
    assert box.leaks() == []


async def test_no_descriptor_is_left_open(box):
    async def cycle():
        spec = box.spec("sleep", "60")
        await box.rt.create(spec)
        async with box.rt.attach(spec.id):
            await box.rt.start(spec.id)
            with pytest.raises(Missing):
                async with box.rt.exec(spec.id, ProcessSpec(args=("nope",)), privileged=False):
                    pass
            async with box.rt.exec(spec.id, spec.process, privileged=False):
                await box.rt.kill(spec.id, 9)
                await box.finish(spec.id)
        assert await box.log(spec.id, follow=True) == b""
        await box.rt.delete(spec.id)
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    assert await cycle() == await cycle()


async def test_close_removes_the_parent_only_when_empty(box):
    container_id = await box.run("sleep", "60")
    box.rt.close()
    assert box.cgroups() != []
    await box.rt.delete(container_id)
    box.rt.close()
    assert list(Path("/sys/fs/cgroup").glob(f"*/{box.parent}")) == []  # noqa: ASYNC240


async def test_device_of_the_host(box):
    said = await box.output(
        "sh", "-c", "ls -l /dev/mine; cat /dev/mine", devices=("/dev/null:/dev/mine:r",)
    )
    assert "1,   3" in said
    assert "denied" not in said.lower()


async def test_sysctl_of_its_own_namespace(box):
    said = await box.output("cat", "/proc/sys/kernel/msgmax", sysctls={"kernel.msgmax": "12345"})
    assert said == "12345\n"

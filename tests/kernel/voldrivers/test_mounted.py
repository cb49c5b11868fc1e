"""Drivers that mount: real file systems, full, growing, frozen, and servers that stop or die.

Covers voldrivers/mounting.py, voldrivers/child.py, voldrivers/tmpfs.py, voldrivers/image.py,
voldrivers/folders.py, voldrivers/clones.py, voldrivers/btrfs.py
"""

import os
from pathlib import Path

import pytest
import trio

from voldrivers.btrfs import SUBVOLUME_INODE, Btrfs
from voldrivers.contract import VolumeSpec
from voldrivers.copyup import TreeCopyUp
from voldrivers.errors import Busy, Exhausted, Invalid, Missing, Refused
from voldrivers.image import Image
from voldrivers.local import Local
from voldrivers.mounting import find_mount
from voldrivers.nfs import Nfs
from voldrivers.tmpfs import Tmpfs

MIB = 1 << 20


def image(name="data", **options):
    return VolumeSpec(name=name, driver="image", options={"size": "16m", **options})


def tmpfs(**options):
    return VolumeSpec(name="data", driver="tmpfs", options=options)


def fill(path, size):
    with path.open("wb") as file:
        file.write(b"x" * size)
        file.flush()
        os.fsync(file.fileno())


async def test_a_tmpfs_is_limited_and_ends_with_its_last_user(tmp_path):
    driver, volume = Tmpfs(tmp_path), tmpfs(size="1m", mode="1777")
    await driver.create(volume)
    assert (await driver.usage(volume)).used_bytes == -1
    data = await driver.mount(volume, "a")
    assert await driver.mount(volume, "b") == data
    assert data.stat().st_mode & 0o7777 == 0o1777
    with pytest.raises(OSError, match="No space"):
        fill(data / "file", 2 * MIB)
    usage = await driver.usage(volume)
    assert usage.limit_bytes == usage.used_bytes == MIB
    await driver.unmount(volume, "a", last=False)
    assert (data / "file").exists()
    with pytest.raises(Busy):
        await driver.folders.discard(volume.name)
    await driver.unmount(volume, "b", last=True)
    assert not list(data.iterdir())
    await driver.remove(volume)
    await driver.remove(volume)
    assert not list((tmp_path / "volumes").iterdir())


async def test_local_mounts_what_docker_would(tmp_path):
    driver = Local(tmp_path)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/file").write_text("theirs")
    options = {"type": "none", "o": "bind", "device": str(tmp_path / "shared")}
    volume = VolumeSpec(name="data", options=options)
    await driver.create(volume)
    data = await driver.mount(volume, "a")
    assert (data / "file").read_text() == "theirs"
    assert (await driver.health(volume)).state == "healthy"
    await driver.remove(volume)
    assert (tmp_path / "shared/file").read_text() == "theirs"  # never deleted through the mount


async def test_a_mount_the_kernel_refuses_says_why(tmp_path):
    driver = Local(tmp_path)
    volume = VolumeSpec(name="data", options={"type": "ext4", "device": "/dev/null"})
    await driver.create(volume)
    with pytest.raises(Refused, match=r"/dev/null.*says="):
        await driver.mount(volume, "a")
    assert await find_mount(driver.place(volume)) is None
    await driver.remove(volume)


async def test_a_server_that_is_not_there_is_an_error_in_time(tmp_path):
    """Where the kernel has NFS it says that nobody answers; here perhaps that it has none."""
    options = {"server": "127.0.0.1", "path": "/none", "o": "port=1,timeo=10,retrans=1"}
    driver, volume = Nfs(tmp_path), VolumeSpec(name="data", driver="nfs", options=options)
    await driver.create(volume)
    with trio.fail_after(60), pytest.raises(Refused, match=r"type=nfs.*says="):
        await driver.mount(volume, "a")
    assert await find_mount(driver.place(volume)) is None
    await driver.remove(volume)


@pytest.mark.parametrize("kind", ["ext4", "btrfs"])
async def test_an_image_is_full_inside_only_and_keeps_its_bytes(tmp_path, kind):
    driver, volume = Image(tmp_path), image(fs=kind, size="128m")
    await driver.create(volume)
    assert (tmp_path / "volumes/data/disk.img").stat().st_blocks * 512 < 32 * MIB  # sparse
    data = await driver.mount(volume, "a")
    assert not list(data.iterdir())  # no lost+found: programs want an empty directory
    (data / "kept").write_text("kept")
    with pytest.raises(OSError, match="No space"):
        fill(data / "file", 200 * MIB)
    usage = await driver.usage(volume)
    assert usage.limit_bytes <= 128 * MIB
    assert usage.used_bytes > 64 * MIB
    await driver.unmount(volume, "a", last=True)
    assert await find_mount(driver.place(volume)) is None
    assert (await driver.mount(volume, "a") / "kept").read_text() == "kept"
    await driver.remove(volume)
    assert not list((tmp_path / "volumes").iterdir())


def has_sys_resource():
    text = Path("/proc/self/status").read_text("utf-8")
    effective = next(line for line in text.splitlines() if line.startswith("CapEff"))
    return bool(int(effective.split()[1], 16) >> 24 & 1)


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [("ext4", (16, 64, 96)), ("btrfs", (300, 350, 400)), ("xfs", (300, 350, 400))],
)
async def test_an_image_grows_in_use_and_never_shrinks(tmp_path, kind, sizes):
    small, larger, largest = (image(fs=kind, size=f"{size}m") for size in sizes)
    driver = Image(tmp_path)
    await driver.create(small)
    data = await driver.mount(small, "a")
    (data / "kept").write_text("kept")
    try:
        await driver.resize(larger)
    except Refused as exc:  # ext4 wants a right that not every root has; then it says so
        assert kind == "ext4"
        assert not has_sys_resource()
        assert "Permission" in str(exc)  # noqa: PT017
    else:
        assert (await driver.usage(larger)).limit_bytes > 0.75 * sizes[1] * MIB
        fill(data / "file", {"ext4": 26, "btrfs": 310, "xfs": 240}[kind] * MIB)
    assert (data / "kept").read_text() == "kept"
    with pytest.raises(Invalid, match="shrink"):
        await driver.resize(small)
    await driver.unmount(larger, "a", last=True)
    await driver.resize(largest)  # not in use
    assert await find_mount(driver.place(small)) is None
    data = await driver.mount(largest, "a")
    assert (await driver.usage(largest)).limit_bytes > 0.75 * sizes[2] * MIB
    assert (data / "kept").read_text() == "kept"


async def test_a_growth_that_was_cut_off_is_finished_by_the_next_mount(tmp_path):
    driver, volume = Image(tmp_path), image()
    await driver.create(volume)
    (tmp_path / "volumes/data/growing").touch()
    os.truncate(tmp_path / "volumes/data/disk.img", 64 * MIB)  # and then a kill
    await driver.mount(image(size="64m"), "a")
    assert (await driver.usage(volume)).limit_bytes > 40 * MIB


async def test_a_clone_of_an_image_in_use_is_whole(tmp_path):
    driver, volume, copy = Image(tmp_path), image(size="64m"), image("copy", size="64m")
    await driver.create(volume)
    data = await driver.mount(volume, "a")
    fill(data / "file", 8 * MIB)
    (data / "not-synced").write_text("here")
    await driver.clone(volume, copy)
    (data / "file").write_text("later")  # it is not frozen any more
    there = await driver.mount(copy, "b")
    assert (there / "file").stat().st_size == 8 * MIB
    assert (there / "not-synced").read_text() == "here"
    assert (tmp_path / "volumes/copy/disk.img").stat().st_blocks * 512 < 40 * MIB  # still sparse


async def test_what_a_killed_agent_left_frozen_is_thawed(tmp_path):
    driver, volume = Image(tmp_path), image()
    await driver.create(volume)
    data = await driver.mount(volume, "a")
    await trio.run_process(["fsfreeze", "-f", driver.place(volume)])
    await Image(tmp_path).clean()
    with trio.fail_after(20):
        await trio.to_thread.run_sync((data / "file").write_text, "x", abandon_on_cancel=True)


async def test_an_image_is_mounted_once_whoever_holds_on_to_it(tmp_path):
    driver, volume = Image(tmp_path), image()
    await driver.create(volume)
    data = await driver.mount(volume, "a")
    with (data / "open").open("w") as file:
        with pytest.raises(Busy):
            await driver.unmount(volume, "a", last=True)
        assert await driver.mount(volume, "b") == data
        file.write("x")
    await driver.unmount(volume, "b", last=True)
    lost = await trio.run_process(
        ["losetup", "-j", tmp_path / "volumes/data/disk.img"], capture_stdout=True
    )
    assert lost.stdout == b""


async def test_an_image_that_is_gone_or_too_large_says_so(tmp_path):
    driver, volume = Image(tmp_path), image()
    with pytest.raises(Exhausted):
        await driver.create(image(size="900t"))
    assert not list((tmp_path / "volumes").iterdir())
    await driver.create(volume)
    (tmp_path / "volumes/data/disk.img").unlink()
    assert "not there" in (await driver.health(volume)).reason
    with pytest.raises(Missing):
        await driver.mount(volume, "a")


@pytest.mark.parametrize("options", [{}, {"size": "1m"}, {"size": "16m", "fs": "vfat"}])
def test_image_options(tmp_path, options):
    with pytest.raises(Invalid):
        Image(tmp_path).check(VolumeSpec(name="data", options=options))


async def test_copy_up_into_a_file_system_of_its_own(tmp_path):
    (tmp_path / "rootfs/www/sub").mkdir(parents=True)
    (tmp_path / "rootfs/www/sub/file").write_text("from the image")
    for driver, volume in ((Image(tmp_path), image("one")), (Tmpfs(tmp_path), tmpfs())):
        await driver.create(volume)
        data = await driver.mount(volume, "a")
        assert await TreeCopyUp().copy_up(tmp_path / "rootfs", "/www", data)
        assert (data / "sub/file").read_text() == "from the image"
        assert [each.name for each in data.iterdir()] == ["sub"]
        assert not await TreeCopyUp().copy_up(tmp_path / "rootfs", "/www", data)


async def test_blocks_are_shared_where_the_file_system_can(tmp_path):
    driver, disk = Image(tmp_path / "outer"), image("disk", fs="btrfs", size="200m")
    await driver.create(disk)
    inner = Local(await driver.mount(disk, "a"))
    volume, copy = VolumeSpec(name="data"), VolumeSpec(name="data@now")
    await inner.create(volume)
    fill(inner.mountpoint(volume) / "file", 64 * MIB)
    before = (await driver.usage(disk)).used_bytes
    assert await inner.clone(volume, copy) == "reflink"
    assert (inner.mountpoint(copy) / "file").stat().st_size == 64 * MIB
    assert (await driver.usage(disk)).used_bytes - before < 16 * MIB


# --- btrfs --------------------------------------------------------------------------------------


@pytest.fixture
async def on_btrfs(tmp_path):
    """A root for an agent that is on btrfs with quotas."""
    driver, disk = Image(tmp_path / "outer"), image("disk", fs="btrfs", size="300m")
    await driver.create(disk)
    root = await driver.mount(disk, "a")
    await trio.run_process(["btrfs", "quota", "enable", root])
    return root


def subvolume(name="data", **options):
    return VolumeSpec(name=name, driver="btrfs", options=options)


async def test_a_subvolume_is_limited_and_copied_at_once(on_btrfs):
    driver, volume = Btrfs(on_btrfs), subvolume(size="20m")
    await driver.create(volume)
    data = await driver.mount(volume, "a")
    assert data.stat().st_ino == SUBVOLUME_INODE
    assert data.stat().st_mode & 0o7777 == 0o755
    fill(data / "file", 8 * MIB)
    copy = subvolume("data@now", size="20m")
    assert await driver.clone(volume, copy) == "subvolume"
    (data / "file").write_text("later")
    assert (driver.mountpoint(copy) / "file").stat().st_size == 8 * MIB
    with pytest.raises(OSError, match="quota"):
        fill(data / "full", 40 * MIB)
    (data / "full").unlink()
    await driver.resize(subvolume(size="100m"))
    fill(data / "full", 40 * MIB)
    usage = await driver.usage(subvolume(size="100m"))
    assert usage.limit_bytes == 100 * MIB
    assert usage.used_bytes > 30 * MIB
    await driver.swap(volume, copy.name)
    assert (data / "file").stat().st_size == 8 * MIB
    for each in (volume, copy):
        await driver.remove(each)
        await driver.remove(each)
    assert not list((on_btrfs / "volumes").iterdir())


async def test_without_btrfs_it_says_so(tmp_path):
    with pytest.raises(Refused, match="btrfs"):
        await Btrfs(tmp_path).create(subvolume())
    assert not list((tmp_path / "volumes").iterdir())

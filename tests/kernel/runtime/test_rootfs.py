"""Overlay roots on the real kernel: layers, odd paths, many layers, restarts, layers of a size.

Covers runtime/rootfs.py, runtime/layerdisk.py
"""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import trio

from runtime import errors, mounting
from runtime.image.untar import Limits, untar
from runtime.rootfs import OverlayRoots
from tests.fakes.registry_images import entry, tar_of

BUSYBOX = Path("/bin/busybox").read_bytes()


@pytest.fixture
def root(tmp_path):
    yield tmp_path
    for path in reversed(mounting.mount_points()):
        if path.is_relative_to(tmp_path):
            mounting.unmount(path, mounting.MNT_DETACH)


def layer(base: Path, name: str, *members) -> Path:
    path = base / name
    path.mkdir(parents=True)
    untar(iter([tar_of(*members)]), path, Limits())
    return path


def tree(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


async def test_layers_whiteouts_and_opaque_folders(root):
    layers = [
        layer(root, "1", ("a", b"1"), ("b", b"1"), ("d/x", b"1"), ("d/y", b"1"), ("gone/z", b"1")),
        layer(root, "2", ("b", b"2"), entry(".wh.a"), entry("d/.wh..wh..opq"), ("d/n", b"2")),
        layer(root, "3", entry(".wh.gone"), ("c", b"3")),
    ]
    roots = OverlayRoots(root)
    merged = await roots.mount("c1", layers, image_id="i")
    assert merged == root / "containers/c1/merged"
    assert tree(merged) == {"b": b"2", "c": b"3", "d/n": b"2"}
    (merged / "own").write_bytes(b"4")
    shutil.rmtree(merged / "d")
    await roots.unmount("c1")
    assert not (merged / "own").exists()
    again = OverlayRoots(root)  # as after a restart
    assert tree(await again.mount("c1", layers, image_id="i")) == {
        "b": b"2",
        "c": b"3",
        "own": b"4",
    }
    assert tree(layers[0]).keys() == {"a", "b", "d/x", "d/y", "gone/z"}


async def test_mount_twice_mounts_once(root):
    layers = [layer(root, "1", ("a", b"1"))]
    roots = OverlayRoots(root)
    for _ in range(2):
        merged = await roots.mount("c1", layers, image_id="i")
    assert mounting.mount_points().count(merged) == 1
    assert await roots.ls() == ["c1"]


async def test_another_image_is_a_conflict(root):
    layers = [layer(root, "1", ("a", b"1"))]
    roots = OverlayRoots(root)
    await roots.mount("c1", layers, image_id="i")
    await roots.unmount("c1")
    with pytest.raises(errors.Conflict):
        await roots.mount("c1", layers, image_id="j")


async def test_remove_leaves_nothing_and_may_be_repeated(root):
    layers = [layer(root, "1", ("a", b"1"))]
    roots = OverlayRoots(root)
    merged = await roots.mount("c1", layers, image_id="i")
    (merged / "deep/er").mkdir(parents=True)
    (merged / "a").unlink()
    for _ in range(2):
        await roots.remove("c1")
    await roots.unmount("c1")
    assert list((root / "containers").iterdir()) == []
    assert await roots.ls() == []
    assert not any(path.is_relative_to(root) for path in mounting.mount_points())


async def test_files_of_others_in_the_home_stay(root):
    layers = [layer(root, "1", ("a", b"1"))]
    roots = OverlayRoots(root)
    await roots.mount("c1", layers, image_id="i")
    log = root / "containers/c1/log"
    log.mkdir()
    await roots.remove("c1")
    assert log.is_dir()
    assert await roots.ls() == []


async def test_busy_root_is_still_unmounted(root):
    layers = [layer(root, "1", ("a", b"1"))]
    roots = OverlayRoots(root)
    merged = await roots.mount("c1", layers, image_id="i")
    with (merged / "open").open("w"):
        await roots.remove("c1")
    assert await roots.ls() == []


async def test_ls_finds_halves(root):
    roots = OverlayRoots(root)
    assert await roots.ls() == []
    (root / "containers/half").mkdir(parents=True)
    (root / "containers/part/upper").mkdir(parents=True)
    assert await roots.ls() == ["half", "part"]
    for name in ("half", "part"):
        await roots.remove(name)
    assert await roots.ls() == []


@pytest.mark.parametrize("name", ["a b", "a,b", "a:b", "a\\b", "a\\,b", "a\tb\nc", "é", "x" * 200])
async def test_any_character_in_the_path(root, name):
    base = root / name
    layers = [layer(base, "1", ("a", b"1")), layer(base, "2", ("b", b"2"))]
    roots = OverlayRoots(base)
    merged = await roots.mount("c1", layers, image_id="i")
    assert tree(merged) == {"a": b"1", "b": b"2"}
    (merged / "w").write_bytes(b"w")
    assert (base / "containers/c1/upper/w").exists()
    await roots.mount("c1", layers, image_id="i")
    assert mounting.mount_points().count(merged) == 1
    await roots.remove("c1")
    assert merged not in mounting.mount_points()


@pytest.mark.parametrize("count", [1, 127, 200])
async def test_many_layers(root, count):
    layers = [
        layer(root, f"{'l' * 60}{n}", (f"f{n}", b"x"), ("all", b"%d" % n)) for n in range(count)
    ]
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    merged = await OverlayRoots(root).mount("c1", layers, image_id="i")
    assert len(list(merged.iterdir())) == count + 1
    assert (merged / "all").read_bytes() == b"%d" % (count - 1)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


async def test_root_folder_looks_like_the_image(root):
    layers = [layer(root, "1", entry(".", type=b"5", mode=0o1777, uid=12, gid=34))]
    merged = await OverlayRoots(root).mount("c1", layers, image_id="i")
    found = merged.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o1777, 12, 34)


async def test_missing_layer(root):
    with pytest.raises(errors.Missing):
        await OverlayRoots(root).mount("c1", [root / "none"], image_id="i")
    assert await OverlayRoots(root).ls() == ["c1"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".hidden"])
async def test_ids_that_are_paths(root, name):
    with pytest.raises(errors.Invalid):
        await OverlayRoots(root).remove(name)


async def test_a_program_of_the_layer_runs(root):
    program = (entry("busybox", mode=0o755), BUSYBOX)
    merged = await OverlayRoots(root).mount("c1", [layer(root, "1", program)], image_id="i")
    words = ["chroot", merged, "/busybox", "echo", "inside"]
    assert subprocess.run(words, check=True, capture_output=True).stdout == b"inside\n"  # noqa: ASYNC221


async def test_an_image_without_layers(root):
    roots = OverlayRoots(root)
    merged = await roots.mount("c1", [], image_id="i")
    (merged / "a").write_bytes(b"1")
    assert tree(merged) == {"a": b"1"}
    await roots.remove("c1")
    assert list((root / "containers").iterdir()) == []


async def test_a_size_counts_blocks_once_and_stands_a_tree_that_changes(root):
    roots = OverlayRoots(root)
    merged = await roots.mount("c1", [layer(root, "1", ("base", b"1" * 65536))], image_id="i")
    assert await roots.used_bytes("c1") == 0
    (merged / "own").write_bytes(b"2" * 65536)
    os.sync()
    (merged / "twin").hardlink_to(merged / "own")
    assert await roots.used_bytes("c1") == (merged / "own").stat().st_blocks * 512 >= 65536

    churn = "while :; do mkdir -p a/b/c; touch a/b/c/x a/y; rm -rf a; done"
    busy = await trio.lowlevel.open_process(["sh", "-c", churn], cwd=merged)
    try:
        sizes = [await roots.used_bytes("c1") for _ in range(100)]
    finally:
        busy.kill()
        await busy.wait()
    assert min(sizes) >= 65536


SIZE = 24 << 20


def fill(path: Path) -> int:
    """Write until there is no room; bytes that went in."""
    with pytest.raises(OSError, match="No space left"):
        _write_on(path)
    return path.stat().st_size


def _write_on(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 20)):
            pass


def loops(root: Path) -> list[str]:
    """Files below ``root`` that loop devices have."""
    files = [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    return [name for name in files if str(root) in name]


async def test_a_layer_of_a_size_is_full_inside_only(root):
    layers = [layer(root, "1", ("a", b"1"))]
    roots = OverlayRoots(root)
    merged = await roots.mount("c1", layers, image_id="i", size_bytes=SIZE)
    before = shutil.disk_usage(root).free
    assert 8 << 20 < fill(merged / "big") < SIZE
    (root / "beside").write_bytes(bytes(4096))
    assert before - shutil.disk_usage(root).free < 2 * SIZE
    full = roots.room("c1")
    assert full
    assert full.used_bytes > 0.9 * full.size_bytes
    (merged / "big").unlink()
    (merged / "a").write_bytes(b"2")
    await roots.unmount("c1")
    assert [path for path in mounting.mount_points() if path.is_relative_to(root)] == []
    assert roots.room("c1") is None
    assert await roots.used_bytes("c1") < 1 << 20  # which mounts what it looks at
    changes = await roots.changes("c1", layers, left_out=())
    assert [(each.kind, each.path) for each in changes] == [("C", "/a")]
    async with roots.pack_layer("c1", left_out=()) as chunks:
        assert b"a\0" in b"".join([chunk async for chunk in chunks])
    assert await roots.ls() == ["c1"]
    await roots.remove("c1")
    assert await roots.ls() == []
    assert not (root / "containers/c1").exists()
    assert loops(root) == []


async def test_it_grows_when_it_is_mounted_again_and_never_shrinks(root):
    roots = OverlayRoots(root)
    merged = await roots.mount("c1", [], image_id="i", size_bytes=SIZE)
    first = fill(merged / "big")
    await roots.mount("c1", [], image_id="i", size_bytes=3 * SIZE)  # not while it is mounted
    await roots.unmount("c1")
    disk = root / "containers/c1/disk.img"
    disk.rename(f"{disk}.growing")  # as a kill in a growth leaves it
    await roots.mount("c1", [], image_id="i", size_bytes=3 * SIZE)
    assert (merged / "big").stat().st_size == first
    assert fill(merged / "more") > SIZE
    await roots.unmount("c1")
    await roots.mount("c1", [], image_id="i", size_bytes=SIZE)
    assert disk.stat().st_size == 3 * SIZE
    await roots.remove("c1")


async def test_a_making_that_was_cut_off_is_done_again(root):
    roots = OverlayRoots(root)
    home = root / "containers/c1"
    home.mkdir(parents=True)
    (home / "disk.img.new").write_bytes(b"half")
    assert await roots.ls() == ["c1"]
    merged = await roots.mount("c1", [], image_id="i", size_bytes=SIZE)
    (merged / "x").write_bytes(b"1")
    assert not (home / "disk.img.new").exists()
    await roots.remove("c1")
    with pytest.raises(errors.Exhausted, match="larger than the disk"):
        await roots.mount("c2", [], image_id="i", size_bytes=1 << 60)
    with pytest.raises(errors.Invalid, match="16m"):
        await roots.mount("c2", [], image_id="i", size_bytes=1)
    await roots.remove("c2")

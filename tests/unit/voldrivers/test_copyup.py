import os

import pytest
import trio
import trio.testing

from voldrivers.contract import VolumeSpec
from voldrivers.copyup import READY, TreeCopyUp
from voldrivers.errors import Refused
from voldrivers.folders import STAGING
from voldrivers.local import Local

DATA = VolumeSpec(name="data")


@pytest.fixture
async def volume(tmp_path):
    driver = Local(tmp_path / "agent")
    await driver.create(DATA)
    return driver.mountpoint(DATA)


@pytest.fixture
def rootfs(tmp_path):
    folder = tmp_path / "rootfs"
    (folder / "www/sub").mkdir(parents=True)
    (folder / "www/index.html").write_text("from the image")
    (folder / "www/sub/deep").write_text("deep")
    (folder / "www/.hidden").write_text("dot")
    (folder / "empty").mkdir()
    (folder / "file").write_text("x")
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_copied(volume):
    assert names(volume) == [".hidden", "index.html", "sub"]
    assert (volume / "sub/deep").read_text() == "deep"
    assert names(volume.parent) == ["_data"]


async def test_empty_volume_is_filled_once(rootfs, volume):
    assert await TreeCopyUp().copy_up(rootfs, "/www", volume)
    assert_copied(volume)
    (volume / "index.html").write_text("changed by the user")
    assert not await TreeCopyUp().copy_up(rootfs, "/www", volume)
    assert (volume / "index.html").read_text() == "changed by the user"


async def test_volume_with_data_is_never_touched(rootfs, volume):
    (volume / "mine").write_text("x")
    before = volume.stat()
    assert not await TreeCopyUp().copy_up(rootfs, "/www", volume)
    assert names(volume) == ["mine"]
    assert volume.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("target", ["/nowhere", "/file", "/file/below", "/empty/none"])
async def test_nothing_at_the_target(rootfs, volume, target):
    assert not await TreeCopyUp().copy_up(rootfs, target, volume)
    assert names(volume) == []


async def test_mode_of_an_empty_directory_is_taken(rootfs, volume):
    (rootfs / "empty").chmod(0o1777)
    assert await TreeCopyUp().copy_up(rootfs, "/empty", volume)
    assert volume.stat().st_mode & 0o7777 == 0o1777
    assert not await TreeCopyUp().copy_up(rootfs, "/empty", volume)


async def test_links_of_the_image_do_not_lead_out(rootfs, volume, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    (rootfs / "evil").symlink_to(outside)
    (rootfs / "up").symlink_to("../outside")
    assert not await TreeCopyUp().copy_up(rootfs, "/evil", volume)
    assert not await TreeCopyUp().copy_up(rootfs, "/up", volume)
    (rootfs / "alias").symlink_to("/www")
    (rootfs / "www/out").symlink_to(outside)
    assert await TreeCopyUp().copy_up(rootfs, "/alias", volume)
    assert str((volume / "out").readlink()) == str(outside)


async def test_loop_of_links_is_refused(rootfs, volume):
    (rootfs / "loop").symlink_to("loop")
    with pytest.raises(Refused):
        await TreeCopyUp().copy_up(rootfs, "/loop", volume)


async def test_interrupted_copy_is_repeated(rootfs, volume):
    half = volume.parent / STAGING
    half.mkdir()
    (half / "index.html").write_text("only ha")
    assert await TreeCopyUp().copy_up(rootfs, "/www", volume)
    assert_copied(volume)
    assert (volume / "index.html").read_text() == "from the image"


async def test_interrupted_move_goes_on_and_replaces_nothing(rootfs, volume):
    ready = volume.parent / READY
    ready.mkdir()
    for name in ("one", "two"):
        (ready / name).write_text("from the image")
    (volume / "two").write_text("the user's")
    (volume / "three").write_text("the user's")
    assert await TreeCopyUp().copy_up(rootfs, "/www", volume)
    assert {name: (volume / name).read_text() for name in names(volume)} == {
        "one": "from the image",
        "two": "the user's",
        "three": "the user's",
    }
    assert names(volume.parent) == ["_data"]


async def test_two_containers_at_once(rootfs, volume):
    copier = TreeCopyUp()
    done: list[bool] = []

    async def one() -> None:
        done.append(await copier.copy_up(rootfs, "/www", volume))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(one)
    assert sorted(done) == [False] * 4 + [True]
    assert_copied(volume)


async def test_cancelled_copy_leaves_the_volume_empty_and_can_be_repeated(rootfs, volume):
    copier = TreeCopyUp()
    for number in range(300):
        (rootfs / "www" / f"f{number}").write_text("x")
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(copier.copy_up, rootfs, "/www", volume)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert names(volume) in ([], names(rootfs / "www"))
    await copier.copy_up(rootfs, "/www", volume)
    assert names(volume) == names(rootfs / "www")


async def test_times_of_the_top_directory(rootfs, volume):
    os.utime(rootfs / "www", ns=(10**18, 10**18 + 123))
    await TreeCopyUp().copy_up(rootfs, "/www", volume)
    assert volume.stat().st_mtime_ns == 10**18 + 123

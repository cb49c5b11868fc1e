import stat
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from voldrivers import local
from voldrivers.contract import VolumeSpec
from voldrivers.errors import Conflict, Invalid, Missing
from voldrivers.folders import NAME
from voldrivers.local import Local


@pytest.fixture
def driver(tmp_path):
    return Local(tmp_path)


DATA = VolumeSpec(name="data")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


async def test_create_is_laid_out_as_dockers(driver, tmp_path):
    await driver.create(DATA)
    assert driver.mountpoint(DATA) == tmp_path / "volumes/data/_data"
    assert stat.S_IMODE((tmp_path / "volumes/data").stat().st_mode) == 0o701
    assert stat.S_IMODE((tmp_path / "volumes/data/_data").stat().st_mode) == 0o755
    assert names(tmp_path / "volumes") == ["data"]


async def test_create_again_keeps_the_data(driver):
    await driver.create(DATA)
    (driver.mountpoint(DATA) / "file").write_text("kept")
    await driver.create(DATA)
    assert (driver.mountpoint(DATA) / "file").read_text() == "kept"


async def test_parallel_creates_of_one_name(driver, tmp_path):
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(driver.create, DATA)
    assert names(tmp_path / "volumes") == ["data"]


async def test_remove_takes_the_data_and_is_idempotent(driver, tmp_path):
    await driver.create(DATA)
    (driver.mountpoint(DATA) / "a/b").mkdir(parents=True)
    (driver.mountpoint(DATA) / "a/b/file").write_text("x")
    await driver.remove(DATA)
    await driver.remove(DATA)
    assert names(tmp_path / "volumes") == []


async def test_what_a_kill_leaves_is_cleaned_and_volumes_are_not(driver, tmp_path):
    await driver.create(DATA)
    (driver.mountpoint(DATA) / ".trash-users-own").mkdir()
    volumes = tmp_path / "volumes"
    for left in (".new-1/_data", ".trash-2/deep/er", "data/.copyup/half", "data/.trash-3/x"):
        (volumes / left).mkdir(parents=True)
    (volumes / "data/.copyup-ready").mkdir()
    await driver.clean()
    assert names(volumes) == ["data"]
    assert names(volumes / "data") == [".copyup-ready", "_data"]
    assert names(driver.mountpoint(DATA)) == [".trash-users-own"]


async def test_mount_says_where_and_refuses_what_is_gone(driver):
    await driver.create(DATA)
    assert await driver.mount(DATA, "c1") == driver.mountpoint(DATA)
    await driver.unmount(DATA, "c1", last=True)
    await driver.remove(DATA)
    with pytest.raises(Missing):
        await driver.mount(DATA, "c1")
    health = await driver.health(DATA)
    assert health.state == "unhealthy"
    assert "data" in health.reason


async def test_links_in_our_place_are_conflicts_and_never_followed(driver, tmp_path):
    outside = tmp_path / "outside"
    (outside / "_data").mkdir(parents=True)
    (outside / "_data/precious").write_text("x")
    (tmp_path / "volumes").mkdir()
    (tmp_path / "volumes/data").symlink_to(outside)
    with pytest.raises(Conflict):
        await driver.create(DATA)
    with pytest.raises(Conflict):
        await driver.usage(DATA)
    with pytest.raises(Conflict):
        await driver.remove(DATA)
    assert (await driver.health(DATA)).state == "unhealthy"
    assert (outside / "_data/precious").exists()


async def test_data_that_is_a_link_is_not_followed(driver, tmp_path):
    (tmp_path / "volumes/data").mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (tmp_path / "volumes/data/_data").symlink_to(outside)
    with pytest.raises(Conflict):
        await driver.create(DATA)
    await driver.remove(DATA)
    assert names(outside) == ["precious"]


async def test_usage_counts_what_is_there(driver):
    await driver.create(DATA)
    (driver.mountpoint(DATA) / "file").write_bytes(b"x" * 50_000)
    usage = await driver.usage(DATA)
    assert usage.inodes == 2
    assert 50_000 <= usage.used_bytes < 80_000
    with pytest.raises(Missing):
        await driver.usage(VolumeSpec(name="none"))


async def test_a_count_ends_with_its_volume(driver, monkeypatch):
    await driver.create(DATA)
    monkeypatch.setattr(local, "USAGE_BUDGET_S", -1.0)
    await driver.usage(DATA)
    await driver.remove(DATA)
    with pytest.raises(Missing):
        await driver.usage(DATA)


async def test_a_tree_too_large_for_us_is_counted_by_du(driver, monkeypatch):
    await driver.create(DATA)
    for n in range(20):
        (driver.mountpoint(DATA) / f"{n}").write_bytes(b"x" * 5000)
    (driver.mountpoint(DATA) / "link").hardlink_to(driver.mountpoint(DATA) / "1")
    small = await driver.usage(DATA)
    monkeypatch.setattr(local, "USAGE_BUDGET_S", -1.0)
    fresh = Local(driver.mountpoint(DATA).parents[2])
    assert (await fresh.usage(DATA)).used_bytes == -1  # not yet
    with trio.fail_after(20):
        while (large := await fresh.usage(DATA)).used_bytes < 0:  # noqa: ASYNC110  du ends unseen
            await trio.sleep(0.01)
    assert large == small
    assert large.inodes == 21


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"size": "1g"}, "image"),
        ({"colour": "red"}, "colour"),
        ({"type": "tmpfs"}, "device"),
        ({"device": "tmpfs"}, "type"),
        ({"type": "--bind", "device": "x"}, "type"),
        ({"type": "ext4", "device": ""}, "device"),
        ({"type": "ext4", "device": "x", "o": "x-mount.mkdir"}, "x-mount.mkdir"),
        ({"type": "ext4", "device": "x", "o": "helper=sh"}, "helper"),
        ({"type": "ext4", "device": "x", "o": "ro\n"}, "options.o"),
    ],
)
def test_options_are_refused_by_name(driver, options, names):
    with pytest.raises(Invalid, match=names):
        driver.check(VolumeSpec(name="v", options=options))


def test_dockers_options_are_taken(driver):
    options = {"type": "nfs", "o": "addr=192.0.2.1,rw", "device": ":/export"}
    driver.check(VolumeSpec(name="v", options=options))


async def test_longest_name(driver, tmp_path):
    spec = VolumeSpec(name="n" * 255)
    await driver.create(spec)
    await driver.remove(spec)
    assert names(tmp_path / "volumes") == []
    with pytest.raises(Invalid):
        await driver.create(VolumeSpec(name="n" * 256))


async def test_rename_and_swap_move_the_bytes(driver):
    other = VolumeSpec(name="data@old")
    await driver.create(DATA)
    (driver.mountpoint(DATA) / "file").write_text("first")
    await driver.rename(DATA, other.name)
    await driver.rename(DATA, other.name)  # again, as after a kill
    await driver.create(DATA)
    with pytest.raises(Conflict):
        await driver.rename(DATA, other.name)
    await driver.swap(DATA, other.name)
    assert (driver.mountpoint(DATA) / "file").read_text() == "first"
    assert names(driver.mountpoint(other)) == []
    with pytest.raises(Missing):
        await driver.swap(DATA, "none")


async def test_a_clone_has_the_bytes_and_a_life_of_its_own(driver, tmp_path):
    copy = VolumeSpec(name="copy")
    await driver.create(DATA)
    (driver.mountpoint(DATA) / "sub").mkdir()
    (driver.mountpoint(DATA) / "sub/file").write_text("first")
    driver.mountpoint(DATA).chmod(0o1777)
    assert await driver.clone(DATA, copy) in {"copy", "reflink"}
    (driver.mountpoint(DATA) / "sub/file").write_text("second")
    assert (driver.mountpoint(copy) / "sub/file").read_text() == "first"
    assert stat.S_IMODE(driver.mountpoint(copy).stat().st_mode) == 0o1777
    assert names(tmp_path / "volumes/copy") == ["_data"]
    with pytest.raises(Missing):
        await driver.clone(VolumeSpec(name="none"), VolumeSpec(name="more"))
    assert names(tmp_path / "volumes") == ["copy", "data"]


@given(st.text(max_size=20) | st.sampled_from(["..", ".", "a/b", "../x", ".trash-1", "a\n", ""]))
def test_no_name_leads_out(name):
    driver = Local(Path("/root-of-agent"))
    try:
        path = driver.mountpoint(VolumeSpec(name=name))
    except Invalid:
        assert not NAME.fullmatch(name)
    else:
        assert str(path) == f"/root-of-agent/volumes/{name}/_data"
        assert "/" not in name
        assert not name.startswith(".")

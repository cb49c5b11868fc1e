"""The calls themselves, with the kernel's own answers."""

import errno

import pytest

from runtime import mounting


@pytest.fixture
def folders(tmp_path):
    paths = [tmp_path / name for name in ("lower", "upper", "work", "target")]
    for path in paths:
        path.mkdir()
    yield paths
    while paths[3] in mounting.mount_points():
        mounting.unmount(paths[3], mounting.MNT_DETACH)


def test_mount_is_listed_and_goes(folders):
    lower, upper, work, target = folders
    mounting.mount_overlay(target, [lower], upper, work)
    assert mounting.mount_points().count(target) == 1
    mounting.unmount(target)
    assert target not in mounting.mount_points()


def test_the_kernels_no_is_an_oserror(folders):
    lower, upper, work, target = folders
    with pytest.raises(OSError, match="mount") as caught:
        mounting.mount_overlay(target, [lower / "none"], upper, work)
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(OSError, match="umount2") as caught:
        mounting.unmount(target)
    assert caught.value.errno == errno.EINVAL


def test_unmount_follows_no_link(folders):
    lower, upper, work, target = folders
    mounting.mount_overlay(target, [lower], upper, work)
    link = lower.parent / "link"
    link.symlink_to(target)
    with pytest.raises(OSError, match="umount2"):
        mounting.unmount(link)
    assert target in mounting.mount_points()


def test_sync(tmp_path):
    mounting.sync_filesystem(tmp_path)
    with pytest.raises(FileNotFoundError):
        mounting.sync_filesystem(tmp_path / "none")

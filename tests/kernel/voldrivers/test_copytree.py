"""Everything a file can have, as root on a real file system."""

import os
import stat
from pathlib import Path

import pytest

from voldrivers.copytree import TooDeep, copy_contents, copy_metadata
from voldrivers.inroot import FOLDER

NS = 1_600_000_000_123_456_789
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def copy(source, tmp_path):
    def run(check=lambda: None):
        target = tmp_path / "target"
        target.mkdir()
        from_fd, to_fd = os.open(source, FOLDER), os.open(target, FOLDER)
        try:
            copy_contents(from_fd, to_fd, check=check)
            copy_metadata(from_fd, to_fd)
        finally:
            os.close(from_fd)
            os.close(to_fd)
        return target

    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def facts(path):
    status = os.lstat(path)
    xattrs = {n: os.getxattr(path, n, follow_symlinks=False)
              for n in os.listxattr(path, follow_symlinks=False)}  # fmt: skip
    return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev, xattrs


def test_every_kind_and_attribute(source, copy):
    (source / "setuid").write_bytes(b"x" * 10_000)
    (source / "sub/inner").mkdir(parents=True)
    (source / "link").symlink_to("sub/../nowhere")
    os.mkfifo(source / "fifo")
    os.mknod(source / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(source / "socket", stat.S_IFSOCK | 0o600)
    (source / "name with \udcff bytes").write_text("x")
    for name in names(source):
        os.chown(source / name, 1234, 5678, follow_symlinks=False)
    (source / "setuid").chmod(0o6755)
    (source / "sub").chmod(0o3711)
    os.setxattr(source / "setuid", "security.capability", CAPABILITY)
    os.setxattr(source / "setuid", "user.note", b"\0\xff")
    os.setxattr(source / "fifo", "trusted.mark", b"1")
    os.setxattr(source / "link", "trusted.mark", b"2", follow_symlinks=False)
    os.setxattr(source / "sub", "trusted.overlay.opaque", b"y")
    for name in names(source):
        os.utime(source / name, ns=(NS, NS), follow_symlinks=False)
    os.utime(source, ns=(NS, NS + 1))
    target = copy()
    os.removexattr(source / "sub", "trusted.overlay.opaque")
    assert {n: facts(target / n) for n in names(target)} == {
        n: facts(source / n) for n in names(source)
    }
    assert facts(target) == facts(source)
    assert str((target / "link").readlink()) == "sub/../nowhere"
    assert (target / "setuid").read_bytes() == b"x" * 10_000


def test_hard_links_stay_one_file(source, copy):
    (source / "a/b").mkdir(parents=True)
    (source / "one").write_text("x")
    os.link(source / "one", source / "a/b/two")
    os.mkfifo(source / "fifo")
    os.link(source / "fifo", source / "a/fifo")
    target = copy()
    assert (target / "one").stat().st_ino == (target / "a/b/two").stat().st_ino
    assert (target / "one").stat().st_nlink == 2
    assert (target / "fifo").stat().st_ino == (target / "a/fifo").stat().st_ino
    assert (target / "one").stat().st_ino != (source / "one").stat().st_ino


def test_holes_stay_holes(source, copy):
    with (source / "sparse").open("wb") as file:
        file.seek(10 << 20)
        file.write(b"middle")
        file.truncate(100 << 20)
    (source / "empty").touch()
    with (source / "hole").open("wb") as file:
        file.truncate(5 << 20)
    target = copy()
    status = (target / "sparse").stat()
    assert status.st_size == 100 << 20
    assert status.st_blocks * 512 < 1 << 20
    with (target / "sparse").open("rb") as file:
        file.seek(10 << 20)
        assert file.read(7) == b"middle\0"
    assert (target / "hole").stat().st_size == 5 << 20
    assert (target / "hole").stat().st_blocks == 0


def test_across_file_systems(source, tmp_path):
    data = os.urandom(300_000)
    (source / "file").write_bytes(data)
    from_fd = os.open(source, FOLDER)
    target = Path(f"/dev/shm/nodeagent-test-{os.getpid()}")
    target.mkdir()
    to_fd = os.open(target, FOLDER)
    try:
        copy_contents(from_fd, to_fd, check=lambda: None)
        assert (target / "file").read_bytes() == data
    finally:
        (target / "file").unlink()
        target.rmdir()
        os.close(to_fd)
        os.close(from_fd)


def test_too_deep_is_refused(source, copy):
    path = source
    for _ in range(210):
        path /= "d"
    path.mkdir(parents=True)
    with pytest.raises(TooDeep):
        copy()


def test_check_stops_the_copy(source, copy):
    (source / "file").touch()

    def stop():
        raise KeyError

    with pytest.raises(KeyError):
        copy(stop)

import os

import pytest

from voldrivers.inroot import FOLDER
from voldrivers.tree import TooMuch, delete_tree, measure_tree


@pytest.fixture
def fd(tmp_path):
    opened = os.open(tmp_path, FOLDER)
    yield opened
    os.close(opened)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def deep(path, levels):
    """Nest directories without ever needing a long path."""
    fd = os.open(path, FOLDER)
    for _ in range(levels):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", FOLDER, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)


def test_delete_takes_all_and_follows_no_link(tmp_path, fd):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    top = tmp_path / "top"
    (top / "a/b/c").mkdir(parents=True)
    (top / "a/file").write_text("x")
    (top / "a/b/link").symlink_to(outside)
    (top / "link").symlink_to(outside, target_is_directory=True)
    os.mkfifo(top / "fifo")
    delete_tree(fd, "top")
    assert names(tmp_path) == ["outside"]
    assert (outside / "precious").exists()


def test_delete_copes_with_any_depth(tmp_path, fd):
    (tmp_path / "top").mkdir()
    deep(tmp_path / "top", 1200)
    delete_tree(fd, "top")
    assert names(tmp_path) == []


def test_delete_of_nothing_is_nothing(fd):
    delete_tree(fd, "gone")


def test_measure_counts_hard_links_once_and_holes_not(tmp_path, fd):
    (tmp_path / "sub").mkdir()
    (tmp_path / "one").write_bytes(os.urandom(100_000))
    before = measure_tree(fd, budget_s=10, check=lambda: None)
    os.link(tmp_path / "one", tmp_path / "sub/two")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    after = measure_tree(fd, budget_s=10, check=lambda: None)
    assert before.inodes == 3
    assert before.bytes >= 100_000
    assert after.inodes == 4
    assert after.bytes - before.bytes < 20_000


def test_measure_gives_up_in_time_and_depth(tmp_path, fd):
    with pytest.raises(TooMuch):
        measure_tree(fd, budget_s=-1, check=lambda: None)
    deep(tmp_path, 300)
    with pytest.raises(TooMuch):
        measure_tree(fd, budget_s=10, check=lambda: None)
    delete_tree(fd, "d")


def test_measure_can_be_stopped(fd):
    def stop() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        measure_tree(fd, budget_s=10, check=stop)

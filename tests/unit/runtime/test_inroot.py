import os

import pytest

from runtime import inroot


@pytest.fixture
def root(tmp_path):
    (tmp_path / "secret").write_text("host", encoding="ascii")
    made = tmp_path / "root"
    (made / "etc").mkdir(parents=True)
    (made / "etc/passwd").write_text("inside", encoding="ascii")
    return made


def test_links_stay_inside(root):
    (root / "rel").symlink_to("../../../../etc/passwd")
    (root / "abs").symlink_to("/etc/passwd")
    assert inroot.read_file(root, "/rel") == inroot.read_file(root, "/abs") == b"inside"
    (root / "out").symlink_to("../secret")
    with pytest.raises(FileNotFoundError):
        inroot.read_file(root, "/out")


def test_only_regular_files_are_read(root):
    os.mkfifo(root / "pipe")
    (root / "proc").symlink_to("/proc/self/root")
    for path in ("/pipe", "/etc", "/none", "/proc/etc/hostname"):
        with pytest.raises(OSError, match=r"Errno"):
            inroot.read_file(root, path)


def test_directories_are_made_along_links_inside(root):
    (root / "link").symlink_to("/etc")
    inroot.make_directory(root, "/link/a/b")
    assert (root / "etc/a/b").is_dir()
    inroot.make_directory(root, "/link/a/b")
    with pytest.raises(NotADirectoryError):
        inroot.make_directory(root, "/etc/passwd/x")

import os
from pathlib import Path

import pytest

from voldrivers.inroot import (
    FOLDER,
    exchange,
    open_folder_in,
    open_path_in,
    rename_new,
    sync_filesystem,
)


def where(fd):
    path = str(Path(f"/proc/self/fd/{fd}").readlink())
    os.close(fd)
    return path


@pytest.mark.parametrize(
    ("link", "leads_to"), [("/", ""), ("../../../..", ""), ("/etc", "/etc"), ("../etc", "/etc")]
)
def test_links_stay_inside(tmp_path, link, leads_to):
    (tmp_path / "etc").mkdir()
    (tmp_path / "link").symlink_to(link)
    assert where(open_folder_in(tmp_path, "/link")) == f"{tmp_path}{leads_to}"


def test_magic_links_are_refused(tmp_path):
    with pytest.raises(OSError, match="symbolic links"):
        open_folder_in(tmp_path.parents[-1], f"/proc/self/fd/{os.open(tmp_path, FOLDER)}")


def test_rename_new_replaces_nothing(tmp_path):
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "f").write_text(side)
    a, b = os.open(tmp_path / "a", FOLDER), os.open(tmp_path / "b", FOLDER)
    with pytest.raises(FileExistsError):
        rename_new("f", a, b)
    assert (tmp_path / "b/f").read_text() == "b"
    (tmp_path / "b/f").unlink()
    rename_new("f", a, b)
    assert (tmp_path / "b/f").read_text() == "a"
    sync_filesystem(a)
    os.close(a)
    os.close(b)


def test_a_file_is_found_the_same_way(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/file").touch()
    (tmp_path / "link").symlink_to("/../../etc/file")
    assert where(open_path_in(tmp_path, "link")) == f"{tmp_path}/etc/file"
    with pytest.raises(FileNotFoundError):
        open_path_in(tmp_path, "etc/none")


def test_exchange(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    fd = os.open(tmp_path, FOLDER)
    exchange(fd, "a", "b")
    assert (tmp_path / "a/b").exists()
    with pytest.raises(FileNotFoundError):
        exchange(fd, "a", "none")
    os.close(fd)

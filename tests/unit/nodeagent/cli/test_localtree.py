"""What a hostile container sends stays in the folder it is meant for."""

import io
import os
import tarfile

import pytest

from nodeagent.cli.call import CommandFailed
from nodeagent.cli.localtree import ChunkReader, unpack


def tar(*entries: tuple[str, str, str]) -> ChunkReader:
    """Entries of (name, kind, content or target), in small pieces."""
    out = io.BytesIO()
    kinds = {
        "file": tarfile.REGTYPE,
        "folder": tarfile.DIRTYPE,
        "link": tarfile.SYMTYPE,
        "twin": tarfile.LNKTYPE,
        "device": tarfile.CHRTYPE,
    }
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, text in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime = kinds[kind], 0o4755, 1000
            info.linkname = text if kind in {"link", "twin"} else ""
            data = text.encode() if kind == "file" else b""
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    raw = out.getvalue()
    return ChunkReader(raw[n : n + 700] for n in range(0, len(raw), 700))


TREE = (
    ("d", "folder", ""),
    ("d/f", "file", "text"),
    ("d/l", "link", "f"),
    ("d/t", "twin", "d/f"),
    ("d/in/deep", "file", "x" * 2000),
)


@pytest.mark.parametrize(("name", "top"), [("d", "d"), ("new", "new"), ("", "")])
def test_a_tree_under_another_name(tmp_path, name, top):
    unpack(tar(*TREE), str(tmp_path), name=name, keep_owner=False)
    base = tmp_path / top
    assert (base / "f").read_text() == (base / "t").read_text() == "text"
    assert (base / "f").samefile(base / "t")
    assert (base / "l").readlink().name == "f"
    assert (base / "in/deep").read_text() == "x" * 2000
    assert (base / "f").stat().st_mode & 0o7777 == 0o755
    assert (base / "f").stat().st_mtime == 1000


def test_again_over_what_is_there(tmp_path):
    for _ in range(2):
        unpack(tar(*TREE), str(tmp_path), name="d", keep_owner=False)
    assert (tmp_path / "d/f").read_text() == "text"


@pytest.mark.parametrize(
    "entries",
    [
        [("d/../../out", "file", "x")],
        [("d", "link", "{outside}"), ("d/out", "file", "x")],
        [("d", "folder", ""), ("d/l", "link", ".."), ("d/l/out", "file", "x")],
        [("d/t", "twin", "../out")],
        [("d/dev", "device", "")],
        [("d/f", "file", ""), ("d/f/out", "file", "x")],
    ],
)
def test_nothing_lands_outside(tmp_path, entries):
    inside, outside = tmp_path / "in", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    filled = [(name, kind, text.format(outside=outside)) for name, kind, text in entries]
    with pytest.raises((CommandFailed, OSError)):
        unpack(tar(*filled), str(inside), name="d", keep_owner=False)
    assert list(outside.iterdir()) == []
    assert [each.name for each in tmp_path.iterdir() if each.name not in {"in", "outside"}] == []


def test_an_absolute_name_is_taken_as_relative(tmp_path):
    unpack(tar(("/etc/x", "file", "t")), str(tmp_path), name="d", keep_owner=False)
    assert (tmp_path / "d/x").read_text() == "t"


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / "d").mkdir()
    with pytest.raises(CommandFailed, match="is a folder"):
        unpack(tar(("f", "file", "x")), str(tmp_path), name="d", keep_owner=False)


def test_what_is_no_tar_is_told(tmp_path):
    with pytest.raises(CommandFailed, match="no tar"):
        unpack(ChunkReader([b"x" * 600]), str(tmp_path), name="d", keep_owner=False)
    assert os.listdir(tmp_path) == []  # noqa: PTH208

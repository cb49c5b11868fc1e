"""A tree that is written entry by entry: nothing gets out of it."""

import os
import stat
import tarfile
from pathlib import Path

import pytest

from runtime import errors
from runtime.image.untar import Limits, untar
from tests.fakes.registry_images import (
    entry,
    tar_of,
)

DIR, SYM, LNK, CHR, FIFO = (
    tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE,
)  # fmt: skip


def pieces(data: bytes, size: int = 1000):
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "layer"
    path.mkdir()
    return path


def unpack(root: Path, *members, limits: Limits = Limits()):  # noqa: B008
    return untar(pieces(tar_of(*members)), root, limits)


def test_the_last_of_equal_names_wins(root):
    unpack(
        root,
        ("x", b"1"), ("x", b"22"),
        entry("y", type=DIR), ("y/in", b"1"), ("y", b"file"),
        ("z", b"1"), entry("z", type=DIR), ("z/in", b"2"),
        ("t", b"kept"), entry("s", type=SYM, linkname="t"), ("s", b"new"),
        entry("d", type=DIR), ("d/kept", b"1"), entry("d", type=DIR, mode=0o700),
        entry("h", type=LNK, linkname="t"), ("h", b"other"),
    )  # fmt: skip
    assert (root / "x").read_bytes() == b"22"
    assert (root / "y").read_bytes() == b"file"
    assert (root / "z/in").read_bytes() == b"2"
    assert (root / "t").read_bytes() == b"kept"
    assert (root / "s").read_bytes() == b"new"
    assert (root / "d/kept").exists()
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o700


OUT = "OUTSIDE"


ESCAPES = {
    "dotdot": [("../x", b"x")],
    "dotdot inside": [entry("a", type=DIR), ("a/../../x", b"x")],
    "write through a link": [entry("l", type=SYM, linkname=OUT), ("l/x", b"x")],
    "write through a link to ..": [entry("l", type=SYM, linkname=".."), ("l/x", b"x")],
    "link over a folder in use": [
        entry("d", type=DIR), ("d/1", b""), entry("d", type=SYM, linkname=OUT), ("d/x", b"x"),
    ],
    "folder through a link": [
        entry("l", type=SYM, linkname=OUT), entry("l/secret", type=DIR, mode=0o777),
    ],
    "hard link through a link": [
        entry("l", type=SYM, linkname=OUT), entry("h", type=LNK, linkname="l/secret"),
    ],
    "hard link by ..": [entry("h", type=LNK, linkname="../outside/secret")],
    "hard link by absolute path": [entry("h", type=LNK, linkname=f"{OUT}/secret")],
    "whiteout through a link": [entry("l", type=SYM, linkname=OUT), entry("l/.wh.secret")],
    "opaque through a link": [entry("l", type=SYM, linkname=OUT), entry("l/.wh..wh..opq")],
    "root replaced": [entry("/", type=SYM, linkname=OUT)],
}  # fmt: skip


@pytest.mark.parametrize("trick", ESCAPES)
def test_nothing_gets_out(root, trick):
    outside = root.parent / "outside"
    outside.mkdir(mode=0o700)
    (outside / "secret").write_text("secret")
    before = (outside.stat(), os.listxattr(outside))
    members = ESCAPES[trick]
    for one in members:
        info = one if isinstance(one, tarfile.TarInfo) else None
        if info is not None:
            info.linkname = info.linkname.replace(OUT, str(outside))
    with pytest.raises(errors.Refused):
        unpack(root, *members)
    assert sorted(path.name for path in root.parent.iterdir()) == ["layer", "outside"]
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").stat().st_nlink == 1
    assert (outside.stat().st_mode, os.listxattr(outside)) == (before[0].st_mode, before[1])


def test_a_hard_link_to_a_link_links_the_link(root):
    (root.parent / "secret").write_text("s")
    unpack(
        root,
        entry("l", type=SYM, linkname=str(root.parent / "secret")),
        entry("h", type=LNK, linkname="l"),
        (entry("h", mode=0o777), b"mine"),
    )
    assert (root.parent / "secret").read_text() == "s"
    assert (root / "h").read_bytes() == b"mine"


def test_absolute_names_stay_inside(root):
    unpack(root, ("/etc/x", b"1"), ("//a/./b", b"2"))
    assert (root / "etc/x").read_bytes() == b"1"
    assert (root / "a/b").read_bytes() == b"2"


def test_missing_parents_are_made(root):
    old = os.umask(0o077)
    try:
        unpack(root, ("a/b/c", b"1"))
    finally:
        os.umask(old)
    assert stat.S_IMODE((root / "a/b").stat().st_mode) == 0o755

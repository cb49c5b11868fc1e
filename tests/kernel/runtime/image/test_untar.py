"""Unpacking as root: devices, owners, capabilities, whiteouts, and hostile tars."""

import io
import os
import stat
import struct
import subprocess
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


CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service=ep


def pieces(data: bytes, size: int = 1000):
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "layer"
    path.mkdir()
    return path


def unpack(root: Path, *members, limits: Limits = Limits()):  # noqa: B008
    return untar(pieces(tar_of(*members)), root, limits)


def is_whiteout(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def is_opaque(path: Path) -> bool:
    return "trusted.overlay.opaque" in os.listxattr(path)


def test_attributes(root):
    unpack(
        root,
        entry(".", type=DIR, mode=0o1777, mtime=77),
        entry("d", type=DIR, mode=0o2750, uid=5, gid=6, mtime=1_500_000_000),
        (entry("d/su", mode=0o6755, uid=1000, gid=1001, mtime=1_234_567_890.5), b"x"),
        entry("dev", type=CHR, mode=0o620, devmajor=5, devminor=1),
        entry("pipe", type=FIFO, mode=0o600),
        entry("l", type=SYM, linkname="../../../../etc/passwd", uid=7, mtime=99),
        entry("hard", type=LNK, linkname="d/su"),
    )
    su, folder, link = (root / "d/su").stat(), (root / "d").stat(), (root / "l").lstat()
    assert (stat.S_IMODE(su.st_mode), su.st_uid, su.st_gid) == (0o6755, 1000, 1001)
    assert su.st_mtime_ns == 1_234_567_890_500_000_000
    assert (stat.S_IMODE(folder.st_mode), folder.st_uid, folder.st_mtime) == (
        0o2750,
        5,
        1_500_000_000,
    )
    assert (root / "dev").stat().st_rdev == os.makedev(5, 1)
    assert stat.S_ISFIFO((root / "pipe").stat().st_mode)
    assert (link.st_uid, link.st_mtime) == (7, 99)
    assert (root / "l").readlink() == Path("../../../../etc/passwd")
    assert (root / "hard").stat().st_ino == su.st_ino
    assert (stat.S_IMODE(root.stat().st_mode), root.stat().st_mtime) == (0o1777, 77)


def test_extended_attributes(root):
    headers = {
        "SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape"),
        "SCHILY.xattr.user.note": "hé",
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.user.overlay.opaque": "y",
    }
    unpack(root, (entry("ping", mode=0o755, uid=3, pax_headers=headers), b"x"))
    assert os.getxattr(root / "ping", "security.capability") == CAPABILITY
    assert sorted(os.listxattr(root / "ping")) == ["security.capability", "user.note"]
    assert os.getxattr(root / "ping", "user.note") == "hé".encode()


def test_whiteouts(root):
    unpack(
        root,
        entry("a/.wh.gone", type=tarfile.REGTYPE),
        entry("a/.wh..wh..opq"),
        entry("a/.wh..wh.plnk"),
        entry(".wh.back"),
        entry("back", type=DIR),
        ("back/new", b"x"),
        ("own", b"x"),
        entry(".wh.own"),
        entry("owndir", type=DIR),
        entry(".wh.owndir"),
    )
    assert is_whiteout(root / "a/gone")
    assert is_opaque(root / "a")
    assert sorted(p.name for p in (root / "a").iterdir()) == ["gone"]
    assert is_opaque(root / "back")
    assert (root / "own").read_bytes() == b"x"
    assert is_opaque(root / "owndir")


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh..."])
def test_whiteout_of_nothing(root, name):
    with pytest.raises(errors.Refused):
        unpack(root, entry(name))


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_sparse_files_keep_their_holes(root, tmp_path, form):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.seek(40 << 20)
        file.write(b"middle")
        file.truncate(64 << 20)
    command = ["tar", "-C", str(tmp_path), f"--format={form}", "-S", "-cf", "-", "sparse"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    assert len(data) < 1 << 20
    done = untar(pieces(data), root, Limits())
    found = (root / "sparse").stat()
    assert found.st_size == 64 << 20
    assert found.st_blocks * 512 < 1 << 20
    assert done.disk_bytes < 1 << 20
    with (root / "sparse").open("rb") as file:
        file.seek(40 << 20)
        assert file.read(7) == b"middle\0"


def test_names_that_are_not_utf_8(root):
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as archive:
            archive.addfile(entry(os.fsdecode(b"caf\xe9"), size=0))
            archive.addfile(entry("x" * 200 + "/" + "y" * 200))
        untar(pieces(out.getvalue()), root, Limits())
        assert os.fsdecode(b"caf\xe9") in {path.name for path in root.iterdir()}
        assert (root / ("x" * 200) / ("y" * 200)).exists()


BAD = {
    "uid": [entry("a", uid=2**33)],
    "negative uid": [entry("a", uid=-2)],
    "long name": [entry("n" * 256)],
    "deep": [entry("/".join(["d"] * 600))],
    "unknown type": [entry("a", type=b"Z")],
    "hard link to nothing": [entry("a", type=LNK, linkname="nowhere")],
    "hard link to itself": [("a", b"1"), entry("a", type=LNK, linkname="a")],
    "hard link to a folder": [entry("d", type=DIR), entry("a", type=LNK, linkname="d")],
    "hard link to the root": [entry("a", type=LNK, linkname="/")],
    "empty link": [entry("a", type=SYM, linkname="")],
    "file as folder": [("a", b"1"), ("a/b", b"2")],
}


@pytest.mark.parametrize("case", BAD)
def test_nonsense_is_refused(root, case):
    with pytest.raises(errors.Refused):
        unpack(root, *BAD[case])


@pytest.mark.parametrize("mtime", ["nan", "inf", "-inf", "1e300", "-5"])
def test_senseless_times_are_zero(root, mtime):
    unpack(root, entry("a", pax_headers={"mtime": mtime}))
    assert (root / "a").stat().st_mtime == 0


def test_limits(root):
    with pytest.raises(errors.Refused):
        unpack(root, entry("a"), entry("b"), entry("c"), limits=Limits(entries=2))
    with pytest.raises(errors.Refused):
        unpack(root, ("big", bytes(2000)), limits=Limits(file_bytes=1999))


def test_headers_without_end(root):
    for kind in (b"x", b"L", b"g"):
        info = entry("a", type=kind, size=1 << 33)
        header = info.tobuf(tarfile.GNU_FORMAT)
        endless = (bytes(1 << 20) for _ in range(10_000))
        with pytest.raises(errors.Refused):
            untar((chunk for part in ([header], endless) for chunk in part), root, Limits())


def test_many_long_names_in_a_row(root):
    header = entry("a", type=b"L", size=3).tobuf(tarfile.GNU_FORMAT) + b"abc".ljust(512, b"\0")
    with pytest.raises(errors.Refused):
        untar(pieces(header * 5000, 1 << 16), root, Limits())


@pytest.mark.parametrize("cut", [100, 512, 700, 1600])
def test_truncated(root, cut):
    data = tar_of(("a", bytes(3000)))
    with pytest.raises(errors.Refused):
        untar(pieces(data[:cut]), root, Limits())


def test_debian_tree_equals_gnu_tar(root, tmp_path):
    """A real tree comes out as GNU tar unpacks it."""
    data = subprocess.run(
        ["tar", "-C", "/etc", "-cf", "-", "."], check=True, capture_output=True
    ).stdout
    other = tmp_path / "gnu"
    other.mkdir()
    subprocess.run(["tar", "-C", other, "-xpf", "-"], input=data, check=True)
    untar(pieces(data, 65536), root, Limits())
    listing = ["find", ".", "-printf", "%P %y %m %U %G %s %l %Ts\n"]
    ours, theirs = (
        sorted(
            subprocess.run(listing, cwd=path, check=True, capture_output=True).stdout.splitlines()
        )
        for path in (root, other)
    )
    assert [row for row in ours if b" d " not in row] == [
        row for row in theirs if b" d " not in row
    ]
    strip = lambda rows: [b" ".join(r.split(b" ")[:5]) for r in rows]  # noqa: E731  (dir sizes differ)
    assert strip(ours) == strip(theirs)

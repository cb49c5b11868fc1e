"""What was done to a mounted overlay, against what is said and packed of it.

Covers runtime/files/overlay.py, runtime/files/pack.py
"""

import os
import shutil
import stat
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtime import mounting
from runtime.files.changes import find_changes
from runtime.files.pack import Packer
from runtime.image.untar import Limits, untar

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
STEPS = st.lists(
    st.tuples(st.sampled_from(["file", "folder", "remove", "link", "mode", "twin"]), PATHS),
    max_size=12,
)


FULL = [("folder", "a"), ("file", "a/b"), ("folder", "b"), ("file", "b/a"), ("file", "c")]


def act(top: Path, verb: str, where: str) -> None:
    """Do one thing; what cannot be done is not."""
    path = top / where
    try:
        if verb == "file":
            path.write_bytes(os.urandom(3))
        elif verb == "folder":
            path.mkdir()
        elif verb == "link":
            path.symlink_to("b")
        elif verb == "mode":
            path.chmod(0o700 if path.lstat().st_mode & 0o077 else 0o755)
        elif verb == "twin":
            path.with_name("t").hardlink_to(path)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except (OSError, RuntimeError):
        return


def look(top: Path) -> dict[str, tuple[object, ...]]:
    """All that a reader sees."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(top.rglob("*")):
        info = path.lstat()
        content: object = info.st_nlink
        if stat.S_ISREG(info.st_mode):
            content = (path.read_bytes(), info.st_nlink)
        elif path.is_symlink():
            content = path.readlink()
        elif path.is_dir():
            content = None
        found["/" + str(path.relative_to(top))] = (info.st_mode, info.st_uid, content)
    return found


def pack(upper: Path) -> bytes:
    written = bytearray()
    packer = Packer(write=written.extend, as_layer=True)
    fd = os.open(upper, os.O_RDONLY)
    try:
        packer.folder(fd)
    finally:
        os.close(fd)
    packer.finish()
    return bytes(written)


@settings(max_examples=60, deadline=None)
@given(STEPS, STEPS, STEPS)
@example(FULL, [], [("remove", "a"), ("folder", "a"), ("file", "a/c")])
@example(FULL, [("remove", "a"), ("folder", "a"), ("file", "a/c")], [("file", "a/b")])
@example(FULL, [("remove", "a/b")], [("file", "a/b"), ("remove", "a"), ("file", "a")])
def test_a_packed_layer_is_what_was_done_and_changes_tell_it(low, middle, done):
    with tempfile.TemporaryDirectory(prefix="nt-changes-") as name:
        top = Path(name)
        (top / "low").mkdir()
        for step in low:
            act(top / "low", *step)
        layers = [top / "low", change(top, "1", [top / "low"], middle)[0]]
        upper, before, after = change(top, "2", layers, done)

        told = {each.path: each.kind for each in find_changes(upper, layers)}
        assert list(told) == sorted(told, key=lambda path: path.split("/"))
        gone = {path for path, kind in told.items() if kind == "D"}
        assert {path for path, kind in told.items() if kind == "A"} == after.keys() - before.keys()
        assert gone <= before.keys() - after.keys()
        for path in before.keys() - after.keys():  # below what is gone nothing more is said
            assert any(path == each or path.startswith(each + "/") for each in gone) or hidden(
                path, after
            )
        for path in before.keys() & after.keys():
            if before[path] != after[path] and not has_twin(after[path]):
                assert told[path] == "C"

        copy = top / "copy"
        copy.mkdir()
        untar(iter([pack(upper)]), copy, Limits())
        with mounted(top, "3", [*layers, copy]) as merged:
            assert look(merged) == after


def has_twin(found: tuple[object, ...]) -> bool:
    """Whether only the number of names may differ."""
    content = found[2]
    return isinstance(content, tuple) and content[1] != 1


def hidden(path: str, after: dict[str, tuple[object, ...]]) -> bool:
    """Whether it is gone because something that is no folder is in its way."""
    parents = [str(each) for each in Path(path).parents]
    return any(each in after and not stat.S_ISDIR(int(str(after[each][0]))) for each in parents)


class mounted:  # noqa: N801  (reads as a function)
    def __init__(self, top: Path, name: str, layers: list[Path]) -> None:
        self.upper, self.work, self.merged = (top / f"{kind}{name}" for kind in "uwm")
        for path in (self.upper, self.work, self.merged):
            path.mkdir()
        mounting.mount_overlay(self.merged, list(reversed(layers)), self.upper, self.work)

    def __enter__(self) -> Path:
        return self.merged

    def __exit__(self, *_exc: object) -> None:
        mounting.unmount(self.merged)


def change(top: Path, name: str, layers: list[Path], steps) -> tuple[Path, dict, dict]:
    """Do the steps over the layers; the new upper directory, and how it looked around them."""
    place = mounted(top, name, layers)
    with place as merged:
        before = look(merged)
        for step in steps:
            act(merged, *step)
        return place.upper, before, look(merged)

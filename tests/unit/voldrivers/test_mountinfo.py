from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from voldrivers.mountinfo import parse_mountinfo, targets_below

LINE = rb"36 35 98:0 /mnt1 /mnt/a\040b rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=x"


def test_one_line():
    (mount,) = parse_mountinfo(LINE + b"\n")
    assert mount.target == Path("/mnt/a b")
    assert (mount.id, mount.parent, mount.device, mount.root) == (36, 35, "98:0", "/mnt1")
    assert mount.options == ("rw", "noatime")
    assert mount.propagation == ("shared:1", "master:2")
    assert (mount.type, mount.source) == ("ext3", "/dev/root")
    assert mount.super_options == ("rw", "errors=x")


def test_this_process_has_mounts():
    mounts = parse_mountinfo(Path("/proc/self/mountinfo").read_bytes())
    assert Path("/proc") in {mount.target for mount in mounts}
    lines = Path("/proc/self/mountinfo").read_bytes().count(b"\n")
    assert len(mounts) == lines


def test_targets_below_is_by_component():
    mounts = parse_mountinfo(LINE.replace(rb"/mnt/a\040b", b"/v/one/x") + b"\n" + LINE)
    assert targets_below(mounts, Path("/v/one")) == [Path("/v/one/x")]
    assert targets_below(mounts, Path("/v/on")) == []


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)


@given(names)
def test_every_name_comes_back(name):
    raw = b"".join(
        b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in name.encode()
    )
    line = b"1 0 0:1 / /m/" + raw + b" rw - t s rw"
    (mount,) = parse_mountinfo(line)
    assert mount.target == Path("/m") / name


@given(st.binary() | st.lists(st.sampled_from(LINE.split())).map(b" ".join))
def test_garbage_is_passed_over(data):
    parse_mountinfo(data)

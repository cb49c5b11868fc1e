"""The audit log on disk: bounded, whole lines, and on the disk before it counts.

Covers nodeagent/model/audit.py, nodeagent/state/auditfile.py
"""

import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.model.audit import AuditEntry
from nodeagent.state.auditfile import AuditFile, read_entries


def entry(target):
    return AuditEntry(
        time="2026-11-27T08:00:00.000000Z", method="network.rm", target=target, outcome="ok",
        seconds=0.1, who="uid:0", role="admin", uid=0, gid=0, pid=7,
    )  # fmt: skip


SIZE = len(msgspec.json.encode(entry("00"))) + 1


def targets(file):
    return [each.target for path in file.files() for each in read_entries(path, lambda _: True)]


def test_what_is_written_is_read_back_as_it_was(tmp_path):
    file = AuditFile(tmp_path / "audit", max_bytes=1 << 20, max_files=3)
    assert targets(file) == []
    file.append([entry("a"), entry('b"\n')])
    file.append([entry("c")])
    assert targets(file) == ["a", 'b"\n', "c"]
    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "audit/audit.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("max_files", "kept"), [(1, 4), (2, 9), (3, 14), (5, 24)])
def test_size_and_number_are_bounded_and_the_newest_are_kept(tmp_path, max_files, kept):
    file = AuditFile(tmp_path, max_bytes=5 * SIZE, max_files=max_files)
    for n in range(99):
        file.append([entry(f"{n:02}")])
    assert targets(file) == [f"{n:02}" for n in range(99 - kept, 99)]
    assert len(list(tmp_path.iterdir())) == max_files
    assert all(path.stat().st_size <= 5 * SIZE for path in tmp_path.iterdir())


def test_fewer_files_than_before(tmp_path):
    many = AuditFile(tmp_path, max_bytes=SIZE, max_files=8)
    for n in range(10):
        many.append([entry(f"{n:02}")])
    few = AuditFile(tmp_path, max_bytes=SIZE, max_files=2)
    few.append([entry("10")])
    assert targets(few) == ["09", "10"]
    assert len(list(tmp_path.iterdir())) == 2


@given(cut=st.integers(1, SIZE - 1))
def test_a_line_cut_short_takes_no_other_with_it(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("audit")
    file = AuditFile(folder, max_bytes=1 << 20, max_files=2)
    file.append([entry("01"), entry("02")])
    os.truncate(folder / "audit.log", 2 * SIZE - cut)
    file.append([entry("03")])
    # without its newline alone a line is whole
    assert targets(file) == (["01", "02", "03"] if cut == 1 else ["01", "03"])


def test_a_disk_that_fills_up_leaves_no_part_of_a_line(tmp_path, monkeypatch):
    file = AuditFile(tmp_path, max_bytes=1 << 20, max_files=2)
    file.append([entry("01")])
    write = os.write

    def fill(fd, data):
        if len(data) <= SIZE:
            raise OSError(28, "No space left on device")
        return write(fd, data[: len(data) - SIZE])

    monkeypatch.setattr(os, "write", fill)
    with pytest.raises(OSError, match="No space"):
        file.append([entry("02"), entry("03")])
    monkeypatch.setattr(os, "write", write)
    assert (tmp_path / "audit.log").stat().st_size == SIZE
    file.append([entry("04")])
    assert targets(file) == ["01", "04"]


def test_it_is_on_the_disk_before_it_counts(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.fstat(fd).st_size))
    AuditFile(tmp_path, max_bytes=1 << 20, max_files=2).append([entry("01")])
    assert synced == [SIZE]

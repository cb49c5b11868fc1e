import errno
import os
from pathlib import Path

import pytest

from runtime.errors import Exhausted
from runtime.logs import generations
from runtime.logs.generations import (
    drop,
    list_rotated,
    measure,
    next_number,
    open_current,
    pack,
    rotate,
    tidy,
)


def names(log):
    """The files that are ours; conmon makes the .tmp one the present one."""
    return sorted(entry.name for entry in log.parent.iterdir() if entry.suffix != ".tmp")


def fill(log, count):
    for number in range(count):
        log.write_bytes(b"%d\n" % number * 100)
        assert rotate(log)
    log.write_bytes(b"now\n")


@pytest.fixture
def log(tmp_path):
    return tmp_path / "ctr.log"


def test_numbers_count_up_and_are_never_given_again(log):
    fill(log, 3)
    assert [each.number for each in list_rotated(log)] == [1, 2, 3]
    assert tidy(log, keep=0, compress=True).dropped == 3
    assert names(log) == ["ctr.log", "ctr.log.3.gone"]
    assert tidy(log, keep=0, compress=True).dropped == 0
    rotate(log)
    log.write_bytes(b"x")
    assert [each.number for each in list_rotated(log)] == [3, 4]
    tidy(log, keep=0, compress=True)
    assert names(log) == ["ctr.log", "ctr.log.4.gone"]


def test_nothing_is_put_aside_where_conmon_could_not_begin_anew(log, monkeypatch):
    fill(log, 1)
    before = names(log)

    def full(_path, **_mode):
        raise OSError(errno.ENOSPC, "no inode left")

    monkeypatch.setattr(Path, "touch", full)
    with pytest.raises(Exhausted):
        rotate(log)
    assert names(log) == before


def test_only_sealed_files_are_touched(log):
    fill(log, 2)
    rotate(log)
    assert not log.exists(), "conmon has not opened a new one yet"
    assert not rotate(log)
    done = tidy(log, keep=0, compress=True)
    assert (done.dropped, done.is_complete) == (2, False)
    assert names(log) == ["ctr.log.3"]
    log.write_bytes(b"")
    assert tidy(log, keep=1, compress=True).is_complete
    assert names(log) == ["ctr.log", "ctr.log.3.gz"]


def test_of_one_that_ended_all_are_sealed(log):
    fill(log, 1)
    rotate(log)
    assert tidy(log, keep=1, compress=True, ended=True).is_complete
    assert names(log) == ["ctr.log.2.gz"]


def test_sizes_on_disk(log):
    fill(log, 2)
    pack(log.with_name("ctr.log.1"))
    found = measure(log)
    assert [(each.generation, each.compressed) for each in found] == [(1, True), (2, False)]
    assert found[0].size_bytes < found[1].size_bytes == 200
    drop(log, 2)
    assert [each.generation for each in measure(log)] == [1]


@pytest.mark.parametrize("left", ["ctr.log.1.half", "ctr.log.1.gz"])
def test_compressing_that_was_cut_off_is_done_again(log, left):
    fill(log, 1)
    log.with_name(left).write_bytes(b"half of it")
    tidy(log, keep=5, compress=True)
    assert names(log) == ["ctr.log", "ctr.log.1.gz"]
    assert b"half" not in log.with_name("ctr.log.1.gz").read_bytes()


def test_names_that_are_not_ours_are_left_alone(log):
    fill(log, 1)
    for name in ("ctr.log.tmp", "ctr.log.1.bak", "ctr.log.x"):
        log.with_name(name).write_bytes(b"")
    assert [each.number for each in list_rotated(log)] == [1]


def test_a_full_disk_leaves_the_file_as_it_was(log, monkeypatch):
    fill(log, 1)

    def full(_fd):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exhausted):
        tidy(log, keep=5, compress=True)
    assert names(log) == ["ctr.log", "ctr.log.1"]


def test_the_present_file_has_its_right_number_though_it_is_rotated_meanwhile(log, monkeypatch):
    fill(log, 1)
    real, turns = next_number, iter([True])

    def slow(rotated):
        number = real(rotated)
        if next(turns, False):
            rotate(log)
            log.write_bytes(b"newer\n")
        return number

    monkeypatch.setattr(generations, "next_number", slow)
    opened = open_current(log)
    assert (opened.number, opened.file.read()) == (3, b"newer\n")
    opened.file.close()

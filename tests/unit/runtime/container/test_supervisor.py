import os
import resource
import subprocess
import sys

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from runtime.container import supervisor
from runtime.container.supervisor import Record, parse_stat

RECORD = Record(pid=1, ticks=2, conmon_pid=3, conmon_ticks=4, tty=True, stdin=False, runtime="crun")


def test_stat_with_a_hostile_name():
    fields = " ".join(str(n) for n in range(4, 50))
    assert parse_stat(f"12 (a) Z ) S) R {fields}") == ("R", 22)


@given(st.text(max_size=100))
def test_any_stat(text):
    state, ticks = parse_stat("1 (x) S " + "0 " * 18 + "77 " + text)
    assert (state, ticks) == ("S", 77) or ")" in text


def test_short_stat_is_an_ended_process():
    assert parse_stat("") == ("X", 0)


def test_own_process_and_a_recycled_pid():
    ticks = supervisor.read_ticks(os.getpid())
    assert supervisor.is_alive(os.getpid(), ticks)
    assert not supervisor.is_alive(os.getpid(), ticks + 1)
    assert supervisor.open_pidfd(os.getpid(), ticks + 1) is None
    assert not supervisor.send_signal(os.getpid(), ticks + 1, 9)


async def test_zombie_has_ended():
    # not waited for before the end of the block: until then it is a zombie
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:  # noqa: ASYNC220
        ticks = supervisor.read_ticks(child.pid)
        assert ticks
        child.kill()
        with trio.fail_after(5):
            await supervisor.wait_gone(child.pid, ticks)
        assert supervisor.read_ticks(child.pid) == 0
        assert not supervisor.send_signal(child.pid, ticks, 9)


def test_records_come_back_and_torn_ones_do_not(tmp_path):
    assert supervisor.read_record(tmp_path) is None
    supervisor.write_record(tmp_path, RECORD)
    assert supervisor.read_record(tmp_path) == RECORD
    path = tmp_path / "record.json"
    path.write_bytes(path.read_bytes()[:10])
    assert supervisor.read_record(tmp_path) is None


@pytest.mark.parametrize(("text", "code"), [("0", 0), ("137", 137), ("-1", 255), ("", 255)])
def test_exit_files(tmp_path, text, code):
    assert supervisor.read_exit(tmp_path) is None
    (tmp_path / "exit").write_text(text, encoding="ascii")
    found = supervisor.read_exit(tmp_path)
    assert (found.code, found.oom_killed) == (code, False)
    (tmp_path / "oom").touch()
    assert supervisor.read_exit(tmp_path).oom_killed


def test_written_exit_is_read(tmp_path):
    supervisor.write_exit(tmp_path, 255)
    assert supervisor.read_exit(tmp_path).code == 255
    assert [path.name for path in tmp_path.iterdir()] == ["exit"]


@pytest.mark.parametrize(("program", "within_s"), [("0", 5.0), ("60", 0.01)])
async def test_end_waits_and_then_kills(program, within_s):
    with subprocess.Popen(["/bin/sleep", program]) as child:  # noqa: ASYNC220
        ticks = supervisor.read_ticks(child.pid)
        with trio.fail_after(3):
            await supervisor.end(child.pid, ticks, within_s=within_s)
    assert child.returncode == (0 if program == "0" else -9)


def test_without_descriptors_nobody_is_believed_to_have_ended():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ticks = supervisor.read_ticks(os.getpid())
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            supervisor.open_pidfd(os.getpid(), ticks)
        with pytest.raises(OSError, match="Too many open files"):
            supervisor.read_ticks(os.getpid())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

import pytest
import trio

from runtime.errors import Exhausted
from runtime.logs.inotify import Watch


async def test_change_wakes_and_is_drained(tmp_path):
    watch = Watch(tmp_path)
    try:
        (tmp_path / "a").write_bytes(b"x")
        with trio.fail_after(2):
            await watch.wait()
        with trio.move_on_after(0.02) as scope:
            await watch.wait()
        assert scope.cancelled_caught
        (tmp_path / "a").rename(tmp_path / "b")
        with trio.fail_after(2):
            await watch.wait()
    finally:
        watch.close()
        watch.close()


def test_missing_directory(tmp_path):
    with pytest.raises(Exhausted):
        Watch(tmp_path / "none")

"""Namespaces: pinned, recognised, entered, left."""

import os

import pytest

from netdrivers.errors import Refused
from netdrivers.kernel.netns import HERE, Namespaces, open_pinned


@pytest.fixture
def spaces(host):
    made = Namespaces()
    yield made
    made.close()


def inode() -> int:
    return os.stat(HERE).st_ino  # noqa: PTH116


def test_create_enter_leave_remove(spaces, run_dir):
    pin = run_dir / "a"
    home = inode()
    spaces.create(pin)
    assert inode() == home
    fd = open_pinned(pin)
    with spaces.inside(fd):
        assert inode() == os.fstat(fd).st_ino != home
    assert inode() == home
    os.close(fd)
    spaces.remove(pin)
    spaces.remove(pin)
    assert not pin.exists()


def test_an_error_inside_comes_home(spaces, run_dir):
    home = inode()
    spaces.create(run_dir / "a")
    fd = open_pinned(run_dir / "a")
    with pytest.raises(ZeroDivisionError), spaces.inside(fd):
        raise ZeroDivisionError
    assert inode() == home
    os.close(fd)
    spaces.remove(run_dir / "a")


def test_what_is_not_pinned(spaces, run_dir):
    assert open_pinned(run_dir / "none") is None
    (run_dir / "plain").touch()
    assert open_pinned(run_dir / "plain") is None


def test_a_double_mount_is_taken_off_whole(spaces, run_dir):
    pin = run_dir / "a"
    spaces.create(pin)
    spaces._libc.bind(HERE, pin)
    spaces.remove(pin)
    assert not pin.exists()


def test_a_pin_that_cannot_be_made_is_refused_at_home(spaces, run_dir):
    home = inode()
    with pytest.raises(Refused, match="none"):
        spaces.create(run_dir / "none" / "a")
    assert inode() == home


def test_entering_what_is_no_namespace_is_refused(spaces, run_dir):
    (run_dir / "plain").touch()
    fd = os.open(run_dir / "plain", os.O_RDONLY)
    home = inode()
    with pytest.raises(Refused), spaces.inside(fd):
        pass
    assert inode() == home
    os.close(fd)

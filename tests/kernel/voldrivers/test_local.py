"""Mounts inside volumes, and a kill at every moment of create and remove."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
SCRIPT_MOUNTED = """
import os, subprocess, sys, trio
from pathlib import Path
from voldrivers.contract import VolumeSpec
from voldrivers.errors import Busy
from voldrivers.local import Local

async def main(root):
    driver, spec = Local(root), VolumeSpec(name="data")
    await driver.create(spec)
    inside = driver.mountpoint(spec) / "sub"
    inside.mkdir()
    outside = root / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    subprocess.run(["mount", "--bind", outside, inside], check=True)
    try:
        await driver.remove(spec)
    except Busy as exc:
        assert str(inside) in str(exc), exc
    else:
        raise SystemExit("removed")
    assert (outside / "precious").exists()
    subprocess.run(["umount", inside], check=True)
    await driver.remove(spec)
    assert (outside / "precious").exists()

trio.run(main, Path(sys.argv[1]))
"""
SCRIPT_KILLED = """
import os, sys, trio
from pathlib import Path
from voldrivers.contract import VolumeSpec
from voldrivers.copyup import TreeCopyUp
from voldrivers.local import Local

left = int(sys.argv[2])

def audit(event, args):
    global left
    if event in {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "ctypes.dlopen"}:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)

async def main(root):
    driver, spec = Local(root), VolumeSpec(name="data")
    sys.addaudithook(audit)
    await driver.create(spec)
    await TreeCopyUp().copy_up(root / "rootfs", "/www", driver.mountpoint(spec))
    (driver.mountpoint(spec) / "used").touch()
    await driver.remove(spec)

trio.run(main, Path(sys.argv[1]))
"""
SCRIPT_AFTER = """
import os, sys, trio
from pathlib import Path
from voldrivers.contract import VolumeSpec
from voldrivers.copyup import TreeCopyUp
from voldrivers.local import Local

async def main(root):
    driver, spec = Local(root), VolumeSpec(name="data")
    await driver.clean()
    names = os.listdir(root / "volumes")
    assert names in ([], ["data"]), names
    fresh = not names
    await driver.create(spec)
    data = driver.mountpoint(spec)
    await TreeCopyUp().copy_up(root / "rootfs", "/www", data)
    assert os.listdir(data.parent) == ["_data"], os.listdir(data.parent)
    assert set(os.listdir(data)) - {"used"} == {"a", "b"}, os.listdir(data)
    assert os.listdir(data / "a") == ["f"] and (data / "a/f").read_text() == "x" * 1000
    await driver.remove(spec)
    assert os.listdir(root / "volumes") == []

trio.run(main, Path(sys.argv[1]))
"""


def run(script, *args, wrapper=()):
    return subprocess.run(
        [*wrapper, sys.executable, "-c", script, *map(str, args)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        timeout=60,
    )


def test_what_is_mounted_in_a_volume_is_never_deleted(tmp_path):
    done = run(SCRIPT_MOUNTED, tmp_path, wrapper=["unshare", "-m", "--propagation", "private"])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("moment", range(32))
def test_a_kill_at_any_change_leaves_nothing_and_loses_nothing(tmp_path, moment):
    for name in ("a", "b"):
        (tmp_path / "rootfs/www" / name).mkdir(parents=True)
    (tmp_path / "rootfs/www/a/f").write_text("x" * 1000)
    killed = run(SCRIPT_KILLED, tmp_path, moment)
    assert killed.returncode in {-9, 0}, killed.stderr
    after = run(SCRIPT_AFTER, tmp_path)
    assert after.returncode == 0, after.stderr


def test_the_moments_cover_the_whole_life(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "rootfs/www" / name).mkdir(parents=True)
    (tmp_path / "rootfs/www/a/f").write_text("x" * 1000)
    assert run(SCRIPT_KILLED, tmp_path, 10).returncode == -9
    assert run(SCRIPT_KILLED, tmp_path, 60).returncode == 0

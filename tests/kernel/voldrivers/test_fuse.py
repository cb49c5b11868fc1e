"""FUSE: a real sshfs, whose server and whose life the test holds."""

import os
import signal
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio

from voldrivers.contract import VolumeSpec
from voldrivers.copyup import READY, TreeCopyUp
from voldrivers.errors import Refused, Unavailable
from voldrivers.fuse import Fuse
from voldrivers.guard import Guarded
from voldrivers.mounting import find_mount


@contextmanager
def sftp_server():
    """A port on loopback; each connection gets an sftp-server."""
    children = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                children.append(
                    subprocess.Popen(
                        ["/usr/lib/openssh/sftp-server"], stdin=connection, stdout=connection
                    )
                )

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()
        for child in children:
            child.kill()
            child.wait()


@pytest.fixture
def share(tmp_path):
    """(driver, volume, what it shares)."""
    (tmp_path / "share").mkdir()
    with sftp_server() as port:
        options = {
            "helper": "sshfs", "source": f"localhost:{tmp_path}/share", "o": f"directport={port}",
        }  # fmt: skip
        driver = Fuse(tmp_path)
        yield driver, VolumeSpec(name="data", driver="fuse", options=options), tmp_path / "share"
        for pid in helpers(tmp_path):
            os.kill(pid, signal.SIGKILL)


def helpers(root):
    """Pids of the sshfs programs that mount below ``root``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                argv = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if argv[0] == b"sshfs" and bytes(root) in b" ".join(argv):
                found.append(int(entry.name))
    return found


async def test_sshfs_and_its_death(tmp_path, share):
    driver, volume, folder = share
    await driver.create(volume)
    data = await driver.mount(volume, "a")
    (data / "file").write_text("through ssh")
    assert (folder / "file").read_text() == "through ssh"
    assert (await driver.health(volume)).state == "healthy"
    for pid in helpers(tmp_path):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(Unavailable, match="connect"):
        await driver.health(volume)
    assert ((await driver.mount(volume, "b")) / "file").read_text() == "through ssh"
    await driver.unmount(volume, "b", last=True)
    assert await find_mount(driver.place(volume)) is None
    await driver.remove(volume)
    assert (folder / "file").exists()


async def test_a_helper_that_stopped_hangs_nobody(tmp_path, share):
    driver, volume, _ = share
    guarded = Guarded(driver)
    await guarded.create(volume)
    await guarded.mount(volume, "a")
    for pid in helpers(tmp_path):
        os.kill(pid, signal.SIGSTOP)
    with trio.fail_after(60):
        for _ in range(5):  # more looks than threads
            assert (await guarded.health(volume)).state == "unhealthy"
        assert guarded.state(volume).breaker == "open"
        await guarded.create(VolumeSpec(name="other", driver="fuse", options=volume.options))
        await driver.unmount(volume, "a", last=True)
    assert await find_mount(driver.place(volume)) is None


async def test_a_helper_that_fails_says_why(tmp_path):
    options = {"helper": "sshfs", "source": "localhost:/", "o": "directport=1"}
    volume = VolumeSpec(name="data", driver="fuse", options=options)
    driver = Fuse(tmp_path)
    await driver.create(volume)
    with pytest.raises(Refused, match="says="):
        await driver.mount(volume, "a")
    assert await find_mount(driver.place(volume)) is None


async def test_a_copy_of_image_content_into_a_mount_that_hangs_comes_to_an_end(tmp_path, share):
    driver, volume, folder = share
    (tmp_path / "rootfs/www").mkdir(parents=True)
    (tmp_path / "rootfs/www/page").write_text("from the image")
    await driver.create(volume)
    data = await driver.mount(volume, "a")
    copier = TreeCopyUp(still_s=1.0)
    (pid,) = helpers(tmp_path)
    os.kill(pid, signal.SIGSTOP)
    with trio.fail_after(10):
        with pytest.raises(Unavailable, match="does not go on"):
            await copier.copy_up(tmp_path / "rootfs", "/www", data)
        with pytest.raises(Unavailable, match="hangs"):  # not a second thread that waits
            await copier.copy_up(tmp_path / "rootfs", "/www", data)
        (tmp_path / "other").mkdir()
        assert await copier.copy_up(tmp_path / "rootfs", "/www", tmp_path / "other")
    os.kill(pid, signal.SIGCONT)
    with trio.fail_after(10):
        while not (folder / "page").exists():
            with suppress(Unavailable):  # until the thread that was left has ended
                await copier.copy_up(tmp_path / "rootfs", "/www", data)
            await trio.sleep(0.05)
    assert sorted(each.name for each in folder.iterdir()) == ["page"]
    await driver.unmount(volume, "a", last=True)


async def test_image_content_comes_into_a_file_system_without_exchange_and_noreplace(
    tmp_path, share
):
    driver, volume, folder = share
    (tmp_path / "rootfs/www/sub").mkdir(parents=True)
    for name in ("page", "sub/deep"):
        (tmp_path / "rootfs/www" / name).write_text("from the image")
    await driver.create(volume)
    data = await driver.mount(volume, "a")
    assert await TreeCopyUp().copy_up(tmp_path / "rootfs", "/www", data)
    assert (folder / "sub/deep").read_text() == (folder / "page").read_text() == "from the image"
    assert not await TreeCopyUp().copy_up(tmp_path / "rootfs", "/www", data)
    # one that was cut off amid the moves replaces nothing
    (folder / READY).mkdir()
    (folder / READY / "page").write_text("again")
    (folder / READY / "late").write_text("late")
    assert await TreeCopyUp().copy_up(tmp_path / "rootfs", "/www", data)
    assert sorted(each.name for each in folder.iterdir()) == ["late", "page", "sub"]
    assert (folder / "page").read_text() == "from the image"
    await driver.unmount(volume, "a", last=True)

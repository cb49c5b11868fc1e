"""Volumes as directories, and with Docker's options ``type``, ``o``, ``device`` as mounts.

Without options the bytes are in ROOT/volumes/NAME/_data. With them a file system of this host or
of the network is mounted there, while somebody uses the volume.
Source: docs.docker.com, "docker volume create", driver-specific options.
"""

import os
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

import trio

from voldrivers.clones import clone_folder
from voldrivers.contract import Ability, CloneMethod, VolumeHealth, VolumeSpec, VolumeUsage
from voldrivers.errors import Invalid, Missing, VolDriverError
from voldrivers.folders import DATA, DATA_MODE, make_folder
from voldrivers.inroot import FOLDER
from voldrivers.mounted import UNKNOWN, Mounted, check_options
from voldrivers.mounting import mount
from voldrivers.options import check_device, check_type, split_mount_options
from voldrivers.resolve import with_address
from voldrivers.tree import TooMuch, measure_tree

USAGE_BUDGET_S: Final = 2.0  # guess: about 400,000 files
USAGE_REST: Final = 20  # guess: we walk at most a twentieth of the time, small volumes often
USAGE_TOO_BIG_S: Final = 300.0  # guess: how long we do not try again
OPTIONS: Final = {
    "type": "type of file system, as mount -t",
    "device": "what to mount",
    "o": "mount options",
}


class Local(Mounted):
    """``voldrivers.contract.VolumeDriver`` for one agent's root."""

    name: ClassVar[str] = "local"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._usage: dict[str, tuple[float, VolumeUsage]] = {}  # name: good until, value

    def check(self, volume: VolumeSpec) -> None:
        """Refuse bad names and options.

        Raises:
            Invalid: ``size`` too: a directory has none; the driver ``image`` has.
        """
        self.folders.path(volume.name)
        if "size" in volume.options:
            raise Invalid(
                "a local volume has no size limit; use --driver image --opt size=…",
                field="options",
                value="size",
            )
        check_options(volume, OPTIONS)
        if volume.options:
            for option in ("type", "device"):
                if option not in volume.options:
                    raise Invalid(
                        f"the options of a mount need {option!r} too", field="options", value=option
                    )
            check_type(volume.options["type"])
            check_device(volume.options["device"])
            split_mount_options(volume.options.get("o", ""))

    def abilities(self, volume: VolumeSpec) -> frozenset[Ability]:
        """Of a mount somebody else keeps the bytes."""
        return frozenset({"rename"} if self.is_mount(volume) else {"rename", "clone"})

    def is_mount(self, volume: VolumeSpec) -> bool:
        """Whether something is mounted on the directory while it is used."""
        return bool(volume.options)

    async def create(self, volume: VolumeSpec) -> None:
        """Make the directory if it is not there."""
        self.check(volume)
        probe = partial(_probe, name=volume.name)
        try:
            await self.folders.run("create the volume", volume.name, probe)
        except Missing:
            async with self.folders.making(volume.name) as outer:
                await self.make_data(volume, outer)
            await self.folders.run("create the volume", volume.name, probe)

    async def make_data(self, volume: VolumeSpec, outer: Path) -> None:
        """Make the directory for the bytes in a new volume's outer one."""
        make = partial(make_folder, name=f"{outer.name}/{DATA}", mode=DATA_MODE)
        await self.folders.run("create the volume", volume.name, make)

    async def remove(self, volume: VolumeSpec) -> None:
        """Delete the volume and its data; what was mounted on it is unmounted and stays."""
        self._usage.pop(volume.name, None)
        if self.is_mount(volume):
            await super().remove(volume)
        else:
            await self.folders.discard(volume.name)

    async def mount(self, volume: VolumeSpec, user: str) -> Path:
        """A directory needs no mount: check that the bytes are there and say where."""
        if self.is_mount(volume):
            return await super().mount(volume, user)
        health = await self.health(volume)
        if health.state != "healthy":
            raise Missing("the volume's data is not there", name=volume.name, reason=health.reason)
        return self.mountpoint(volume)

    async def unmount(self, volume: VolumeSpec, user: str, *, last: bool) -> None:
        """After the last user of a mount."""
        if self.is_mount(volume):
            await super().unmount(volume, user, last=last)

    async def attach(self, volume: VolumeSpec, target: Path) -> None:
        """Mount what the options say."""
        options = ",".join(split_mount_options(volume.options.get("o", "")))
        options = await with_address(volume.options["type"], options)
        await mount(volume.options["type"], volume.options["device"], target, options)

    async def usage(self, volume: VolumeSpec) -> VolumeUsage:
        """Disk use, as old as 20 walks take at most; unknown if the tree is too large to count."""
        if self.is_mount(volume):
            return await super().usage(volume)
        self.folders.path(volume.name)
        until, known = self._usage.get(volume.name, (0.0, UNKNOWN))
        if trio.current_time() < until:
            return known
        began = trio.current_time()
        measure = partial(_measure, name=volume.name)
        usage = await self.folders.run("measure the volume", volume.name, measure, slow=True)
        took_s = trio.current_time() - began
        fresh_s = took_s * USAGE_REST if usage.used_bytes >= 0 else USAGE_TOO_BIG_S
        self._usage[volume.name] = (trio.current_time() + fresh_s, usage)
        return usage

    async def health(self, volume: VolumeSpec) -> VolumeHealth:
        """Whether the directory is there and can be read."""
        if self.is_mount(volume):
            return await super().health(volume)
        probe = partial(_probe, name=volume.name)
        try:
            await self.folders.run("open the volume", volume.name, probe)
        except VolDriverError as exc:
            return VolumeHealth(state="unhealthy", reason=str(exc))
        return VolumeHealth(state="healthy")

    async def clone(self, volume: VolumeSpec, target: VolumeSpec) -> CloneMethod:
        """Copy the tree, by reflinks where the file system has them; not one of a mount."""
        self._need("clone", volume)
        return await clone_folder(self.folders, volume.name, target.name)

    async def rename(self, volume: VolumeSpec, name: str) -> None:
        """Give it another name."""
        self._usage.pop(volume.name, None)
        await super().rename(volume, name)

    async def swap(self, volume: VolumeSpec, name: str) -> None:
        """Exchange it with another."""
        self._usage.pop(volume.name, None)
        self._usage.pop(name, None)
        await super().swap(volume, name)


# --- in the thread; ``fd`` is ROOT/volumes, and no path is followed from anywhere else -----------


def _open_data(fd: int, name: str) -> int:
    outer = os.open(name, FOLDER, dir_fd=fd)
    try:
        return os.open(DATA, FOLDER, dir_fd=outer)
    finally:
        os.close(outer)


def _probe(fd: int, name: str) -> None:
    os.close(_open_data(fd, name))


def _measure(fd: int, name: str) -> VolumeUsage:
    data = _open_data(fd, name)
    try:
        size = measure_tree(data, budget_s=USAGE_BUDGET_S, check=trio.from_thread.check_cancelled)
    except TooMuch:
        return UNKNOWN
    finally:
        os.close(data)
    return VolumeUsage(used_bytes=size.bytes, inodes=size.inodes)

"""Volumes as directories, and with Docker's options ``type``, ``o``, ``device`` as mounts.

Without options the bytes are in ROOT/volumes/NAME/_data. With them a file system of this host or
of the network is mounted there, while somebody uses the volume.
Source: docs.docker.com, "docker volume create", driver-specific options.
"""

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

import trio

from voldrivers import child
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

USAGE_BUDGET_S: Final = 0.5  # guess: about 100,000 files; more are counted by a program
USAGE_REST: Final = 20  # guess: we walk at most a twentieth of the time, small volumes often
OPTIONS: Final = {
    "type": "type of file system, as mount -t",
    "device": "what to mount",
    "o": "mount options",
}


@dataclass(slots=True)
class Count:
    """A count by du, of bytes and of inodes; it leaves the interpreter free and nobody waits."""

    began_s: float
    bytes: child.Running
    inodes: child.Running
    _found: dict[str, int] = field(default_factory=dict)

    def poll(self) -> VolumeUsage | None:
        """What was found (unknown if it failed), or None while it is counted."""
        for what, running in (("bytes", self.bytes), ("inodes", self.inodes)):
            if what not in self._found and (done := running.poll()):
                number = (done.says.split() or [""])[0]
                self._found[what] = int(number) if not done.code and number.isdigit() else -1
        if len(self._found) < 2:
            return None
        return VolumeUsage(used_bytes=self._found["bytes"], inodes=self._found["inodes"])

    async def stop(self) -> None:
        """Nobody wants to know any more."""
        for what, running in (("bytes", self.bytes), ("inodes", self.inodes)):
            if what not in self._found:
                await running.stop()


class Local(Mounted):
    """``voldrivers.contract.VolumeDriver`` for one agent's root."""

    name: ClassVar[str] = "local"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._usage: dict[str, tuple[float, VolumeUsage]] = {}  # name: good until, value
        self._counts: dict[str, Count] = {}  # of trees that are too large for a walk of ours

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
        if count := self._counts.pop(volume.name, None):
            await count.stop()
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
        if usage.used_bytes < 0:
            return await self._count(volume, known)
        self._remember(volume, usage, trio.current_time() - began)
        return usage

    def _remember(self, volume: VolumeSpec, usage: VolumeUsage, took_s: float) -> None:
        fresh_s = took_s * USAGE_REST
        self._usage[volume.name] = (trio.current_time() + fresh_s, usage)

    async def _count(self, volume: VolumeSpec, known: VolumeUsage) -> VolumeUsage:
        """Of a tree that is too large for us: begin a count, or fetch what it found.

        Until it is through, ``known`` is told: what was counted last, or that nothing was.
        """
        count = self._counts.get(volume.name)
        if count is None:
            data = str(self.mountpoint(volume))
            self._counts[volume.name] = Count(
                began_s=trio.current_time(),
                bytes=await child.start("du", "-sx", "--block-size=1", "--", data),
                inodes=await child.start("du", "-sx", "--inodes", "--", data),
            )
            return known
        found = count.poll()
        if found is None:
            return known
        del self._counts[volume.name]
        self._remember(volume, found, trio.current_time() - count.began_s)
        return found

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

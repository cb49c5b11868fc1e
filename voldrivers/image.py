"""Volumes of a fixed size: a sparse file with a file system of its own, on a loop device.

ROOT/volumes/NAME/disk.img is mounted on NAME/_fs, and the bytes are in NAME/_fs/_data, so that what
mkfs puts at the top (lost+found) is not the user's. A full volume is full inside only.
Source: mke2fs(8), resize2fs(8), losetup(8), fsfreeze(8).
"""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

import trio

from voldrivers import child
from voldrivers.clones import reflink
from voldrivers.contract import Ability, CloneMethod, VolumeHealth, VolumeSpec
from voldrivers.copytree import copy_bytes
from voldrivers.errors import Exhausted, Invalid, Missing, Refused, Unavailable
from voldrivers.folders import DATA, DATA_MODE, OUTER_MODE, make_folder
from voldrivers.inroot import FOLDER
from voldrivers.mounted import Mounted, check_options
from voldrivers.mounting import find_mount, mount, unmount
from voldrivers.options import parse_size

IMAGE: Final = "disk.img"
PLACE: Final = "_fs"
GROWING: Final = "growing"
# what mkfs wants at least; less of ext4 has no room for a journal
LEAST_BYTES: Final = {"ext4": 4 << 20, "btrfs": 114 << 20, "xfs": 300 << 20}
OPTIONS: Final = {
    "size": "most bytes, as 10g; the volume can grow, not shrink",
    "fs": f"file system: {', '.join(LEAST_BYTES)} (default ext4)",
}


class Image(Mounted):
    """``voldrivers.contract.VolumeDriver``: a file system in a file."""

    name: ClassVar[str] = "image"
    is_remote: ClassVar[bool] = False  # never detached while in use: it would be mounted twice

    def abilities(self, volume: VolumeSpec) -> frozenset[Ability]:
        """All there are."""
        return frozenset({"rename", "clone", "resize"})

    def check(self, volume: VolumeSpec) -> None:
        """Refuse bad names, sizes and file systems (Invalid)."""
        self.folders.path(volume.name)
        check_options(volume, OPTIONS)
        if "size" not in volume.options:
            raise Invalid(
                "an image volume has a size: give --opt size=10g", field="options", value="size"
            )
        kind = _kind(volume)
        if kind not in LEAST_BYTES:
            raise Invalid(f"not one of {', '.join(LEAST_BYTES)}", field="options.fs", value=kind)
        if size_of(volume) < LEAST_BYTES[kind]:
            raise Invalid(
                f"too small for {kind}: at least {LEAST_BYTES[kind] >> 20}m",
                field="options.size",
                value=volume.options["size"],
            )

    async def create(self, volume: VolumeSpec) -> None:
        """Make the file and the file system in it; whole, or not at all."""
        self.check(volume)
        if await self.folders.has(volume.name):
            return
        async with self.folders.making(volume.name) as outer:
            make = partial(_make_image, name=outer.name, size=size_of(volume))
            await self.folders.run("make the volume", volume.name, make)
            await self._make_file_system(volume, outer / IMAGE)

    async def _make_file_system(self, volume: VolumeSpec, image: Path) -> None:
        kind = _kind(volume)
        flags = {"ext4": ("-q", "-F", "-m", "0"), "xfs": ("-q",), "btrfs": ("-q", "-m", "single")}
        done = await child.run(f"mkfs.{kind}", *flags[kind], str(image))
        if done.code:
            raise Refused("could not make the file system", name=volume.name, says=done.says)

    async def attach(self, volume: VolumeSpec, target: Path) -> None:
        """Mount the file; bring it first to the size that was asked for."""
        image = self._image(volume)
        if not await trio.Path(image).exists():
            raise Missing("the volume's image is not there", name=volume.name, path=image)
        is_small = await self._is_small(volume)
        if is_small and _kind(volume) == "ext4":
            await self._grow_unmounted(volume)
        # a loop device that mount(8) makes goes with the mount, also if we are killed
        await mount(_kind(volume), str(image), target, "loop,discard,nosuid,nodev")
        if is_small and _kind(volume) != "ext4":
            await self._grow_mounted(volume)
        data = partial(_make_data, name=volume.name)
        await self.folders.run("make the volume's directory", volume.name, data)

    async def resize(self, volume: VolumeSpec) -> None:
        """Grow the file and the file system, in use or not.

        Raises:
            Invalid: smaller than it is. Refused: it is mounted, and the agent has not the right to
            grow a mounted ext4 (CAP_SYS_RESOURCE); it grows at its next mount.
        """
        self.check(volume)
        has = (await trio.Path(self._image(volume)).stat()).st_size
        if size_of(volume) < has:
            raise Invalid(
                "an image volume cannot shrink", field="options.size",
                value=volume.options["size"], has_bytes=has,
            )  # fmt: skip
        if not await self._is_small(volume):
            return
        if await find_mount(self.place(volume)):
            await self._grow_mounted(volume)
            return
        await self.mount(volume, "")  # grows it
        await unmount(self.place(volume), force=False)

    # A marker stands beside the image while the file is larger than the file system in it. So a
    # growth that was cut off is seen at the next mount; each step of it can be repeated.

    async def _is_small(self, volume: VolumeSpec) -> bool:
        has = (await trio.Path(self._image(volume)).stat()).st_size
        return has < size_of(volume) or await trio.Path(self._marker(volume)).exists()

    async def _enlarge_file(self, volume: VolumeSpec) -> None:
        await trio.Path(self._marker(volume)).touch()
        await self._run(volume, "truncate", "-s", str(size_of(volume)), str(self._image(volume)))

    async def _grow_unmounted(self, volume: VolumeSpec) -> None:
        await self._enlarge_file(volume)
        image = str(self._image(volume))
        await self._run(volume, "e2fsck", "-f", "-p", image, fine=(0, 1))  # resize2fs insists
        await self._run(volume, "resize2fs", image)
        await trio.Path(self._marker(volume)).unlink()

    async def _grow_mounted(self, volume: VolumeSpec) -> None:
        found = await find_mount(self.place(volume))
        if found is None:
            return
        await self._enlarge_file(volume)
        await self._run(volume, "losetup", "-c", found.source)
        grow = {
            "ext4": ("resize2fs", found.source),
            "xfs": ("xfs_growfs", "-d", str(found.target)),
            "btrfs": ("btrfs", "filesystem", "resize", "max", str(found.target)),
        }
        await self._run(volume, *grow[_kind(volume)])
        await trio.Path(self._marker(volume)).unlink()

    async def _run(self, volume: VolumeSpec, *argv: str, fine: Sequence[int] = (0,)) -> None:
        done = await child.run(*argv)
        if done.code not in fine:
            raise Refused("could not resize the volume", name=volume.name, says=done.says)

    async def clone(self, volume: VolumeSpec, target: VolumeSpec) -> CloneMethod:
        """Copy the file; a mounted file system stands still meanwhile, so the copy is whole."""
        if await self.folders.has(target.name):
            return "copy"  # made before a kill: it has its name, so it is whole
        async with self.folders.making(target.name) as outer:
            copy = partial(_copy_image, name=volume.name, new=outer.name)
            mounted = await find_mount(self.place(volume))
            if mounted is None:
                return await self.folders.run("copy the volume", volume.name, copy, slow=True)
            await self._freeze(volume, "-f")
            try:
                return await self.folders.run("copy the volume", volume.name, copy, slow=True)
            finally:
                with trio.CancelScope(shield=True):
                    await self._freeze(volume, "-u")

    async def _freeze(self, volume: VolumeSpec, how: str) -> None:
        done = await child.run("fsfreeze", how, str(self.place(volume)))
        # a killed agent may have left it frozen: then freezing is done
        if done.code and not (how == "-f" and "busy" in done.says):
            raise Unavailable("could not freeze the volume", name=volume.name, says=done.says)

    async def health(self, volume: VolumeSpec) -> VolumeHealth:
        """Whether the image is there and, while mounted, can still be written."""
        if not await trio.Path(self._image(volume)).exists():
            return VolumeHealth(state="unhealthy", reason=f"{self._image(volume)} is not there")
        found = await find_mount(self.place(volume))
        if found and "ro" in found.super_options:
            return VolumeHealth(
                state="unhealthy", reason="the kernel made it read-only after an error; see dmesg"
            )
        return await super().health(volume)

    def place(self, volume: VolumeSpec) -> Path:
        """Where the file system is mounted."""
        return self.folders.path(volume.name) / PLACE

    def mountpoint(self, volume: VolumeSpec) -> Path:
        """Where the bytes are, while it is mounted."""
        return self.place(volume) / DATA

    def _marker(self, volume: VolumeSpec) -> Path:
        return self.folders.path(volume.name) / GROWING

    def _image(self, volume: VolumeSpec) -> Path:
        return self.folders.path(volume.name) / IMAGE

    async def clean(self) -> None:
        """Also thaw what a killed agent left frozen."""
        await super().clean()
        await thaw(self.folders.path("x").parent)


async def thaw(folder: Path) -> None:
    """Let every image volume mounted below go on; one that is not frozen says so, and is."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if (Path(entry.path) / IMAGE).exists()]
    for name in names:
        if await find_mount(folder / name / PLACE):
            await child.run("fsfreeze", "-u", str(folder / name / PLACE))


def size_of(volume: VolumeSpec) -> int:
    """Bytes asked for (Invalid)."""
    return parse_size(volume.options["size"])


def _kind(volume: VolumeSpec) -> str:
    return volume.options.get("fs", "ext4")


# --- in the thread; ``fd`` is ROOT/volumes -------------------------------------------------------


def _make_image(fd: int, name: str, size: int) -> None:
    make_folder(fd, f"{name}/{PLACE}", OUTER_MODE)
    image = os.open(f"{name}/{IMAGE}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=fd)
    try:
        room = os.fstatvfs(image)
        if size > room.f_blocks * room.f_frsize:
            raise Exhausted("the volume would be larger than the disk", bytes=size)
        os.truncate(image, size)
    finally:
        os.close(image)


def _make_data(fd: int, name: str) -> None:
    place = os.open(f"{name}/{PLACE}", FOLDER, dir_fd=fd)
    try:
        make_folder(place, DATA, DATA_MODE)
    except FileExistsError:
        return
    finally:
        os.close(place)


def _copy_image(fd: int, name: str, new: str) -> CloneMethod:
    make_folder(fd, f"{new}/{PLACE}", OUTER_MODE)
    source = os.open(f"{name}/{IMAGE}", os.O_RDONLY, dir_fd=fd)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        target = os.open(f"{new}/{IMAGE}", flags, 0o600, dir_fd=fd)
        try:
            if reflink(source, target):
                return "reflink"
            copy_bytes(source, target, check=trio.from_thread.check_cancelled)
            os.fsync(target)
        finally:
            os.close(target)
    finally:
        os.close(source)
    return "copy"

"""Volumes as btrfs subvolumes: copies at once, and a limit where the file system has quotas on.

ROOT/volumes/NAME/_data is a subvolume, so ROOT must be on btrfs.
Source: btrfs-subvolume(8), btrfs-qgroup(8).
"""

from functools import partial
from pathlib import Path
from typing import ClassVar, Final

import trio

from voldrivers import child
from voldrivers.contract import Ability, CloneMethod, VolumeSpec, VolumeUsage
from voldrivers.errors import Refused
from voldrivers.folders import DATA, DATA_MODE, set_mode
from voldrivers.local import Local
from voldrivers.mounted import check_options
from voldrivers.options import parse_size

OPTIONS: Final = {"size": "most bytes, as 10g; needs quotas: btrfs quota enable ROOT"}
SUBVOLUME_INODE: Final = 256  # of the root of every subvolume


class Btrfs(Local):
    """``voldrivers.contract.VolumeDriver``: a subvolume per volume; nothing is mounted."""

    name: ClassVar[str] = "btrfs"

    def check(self, volume: VolumeSpec) -> None:
        """Refuse bad names and options (Invalid)."""
        self.folders.path(volume.name)
        check_options(volume, OPTIONS)
        if "size" in volume.options:
            parse_size(volume.options["size"])

    def abilities(self, volume: VolumeSpec) -> frozenset[Ability]:
        """All there are."""
        return frozenset({"rename", "clone", "resize"})

    def is_mount(self, volume: VolumeSpec) -> bool:
        """Never: the subvolume is where it is."""
        return False

    async def make_data(self, volume: VolumeSpec, outer: Path) -> None:
        """A subvolume, limited if a size is asked for.

        Raises:
            Refused: ROOT is not on btrfs, or has no quotas.
        """
        await _run(volume, "subvolume", "create", str(outer / DATA))
        mode = partial(set_mode, name=f"{outer.name}/{DATA}", mode=DATA_MODE)
        await self.folders.run("create the volume", volume.name, mode)
        await self._limit(volume, outer / DATA)

    async def _limit(self, volume: VolumeSpec, data: Path) -> None:
        if "size" in volume.options:
            size = str(parse_size(volume.options["size"]))
            await _run(volume, "qgroup", "limit", size, str(data))

    async def remove(self, volume: VolumeSpec) -> None:
        """Delete the subvolume, which takes no time, and what is around it."""
        await self.folders.check_unmounted(volume.name)
        data = self.place(volume)
        if await trio.Path(data).exists():
            await _run(volume, "subvolume", "delete", str(data))
        await super().remove(volume)

    async def clone(self, volume: VolumeSpec, target: VolumeSpec) -> CloneMethod:
        """A snapshot of the subvolume, of one moment, that can be written."""
        if not await self.folders.has(target.name):
            async with self.folders.making(target.name) as outer:
                source = str(self.place(volume))
                await _run(volume, "subvolume", "snapshot", source, str(outer / DATA))
                await self._limit(target, outer / DATA)
        return "subvolume"

    async def resize(self, volume: VolumeSpec) -> None:
        """Another limit; it may be below what is in it, then nothing can be added."""
        self.check(volume)
        await self._limit(volume, self.place(volume))

    async def usage(self, volume: VolumeSpec) -> VolumeUsage:
        """What the quota counts; of a volume without a limit what is found in it."""
        if "size" not in volume.options:
            return await super().usage(volume)
        done = await child.run(
            "btrfs", "qgroup", "show", "--raw", "-re", "-f", str(self.place(volume))
        )
        if done.code:
            raise Refused("could not read the quota", name=volume.name, says=done.says)
        return read_quota(done.says)


def read_quota(says: str) -> VolumeUsage:
    """The one line of ``btrfs qgroup show``: id, referenced, exclusive, limits. Pure.

    Raises:
        Refused: there is no such line.
    """
    words = says.split()
    for n, word in enumerate(words[:-3]):
        if word.startswith("0/") and words[n + 1].isdigit():
            limit = words[n + 3]
            return VolumeUsage(
                used_bytes=int(words[n + 1]),
                inodes=-1,
                limit_bytes=int(limit) if limit.isdigit() else -1,
            )
    raise Refused("the quota cannot be read", says=says[:200])


async def _run(volume: VolumeSpec, *words: str) -> None:
    done = await child.run("btrfs", *words)
    if done.code:
        raise Refused(f"btrfs {words[0]} {words[1]} failed", name=volume.name, says=done.says)

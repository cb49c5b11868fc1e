"""What drivers have in common that mount a file system on ROOT/volumes/NAME/_data."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, Literal

import trio

from voldrivers.contract import Ability, CloneMethod, VolumeHealth, VolumeSpec, VolumeUsage
from voldrivers.errors import Invalid, Missing, Refused, VolDriverError
from voldrivers.folders import DATA, DATA_MODE, Folders, make_folder, translated
from voldrivers.mounting import find_mount, measure, unmount

UNKNOWN: Final = VolumeUsage(used_bytes=-1, inodes=-1)


class Mounted(ABC):
    """``voldrivers.contract.VolumeDriver`` but for ``check`` and ``attach``.

    ``_data`` is an empty directory that the file system is mounted on while somebody uses it.
    """

    name: ClassVar[str] = ""
    scope: Literal["local", "global"] = "local"
    is_remote: ClassVar[bool] = True  # somebody else keeps the bytes, and may not answer

    def __init__(self, root: Path) -> None:
        self.folders = Folders(root)
        self._looking: dict[str, trio.CapacityLimiter] = {}

    # --- what a driver fills in -------------------------------------------------------------------

    @abstractmethod
    def check(self, volume: VolumeSpec) -> None:
        """Refuse options (Invalid names the option)."""

    @abstractmethod
    async def attach(self, volume: VolumeSpec, target: Path) -> None:
        """Mount the bytes on ``target``, where nothing is mounted."""

    # --- the contract -----------------------------------------------------------------------------

    def abilities(self, volume: VolumeSpec) -> frozenset[Ability]:
        """None, unless a driver has some."""
        return frozenset()

    def domain(self, volume: VolumeSpec) -> str:
        """Each volume hangs alone."""
        return volume.name

    async def create(self, volume: VolumeSpec) -> None:
        """Make the directory to mount on."""
        self.check(volume)
        if await self.folders.has(volume.name):
            return
        async with self.folders.making(volume.name) as outer:
            make = partial(make_folder, name=f"{outer.name}/{DATA}", mode=DATA_MODE)
            await self.folders.run("make the volume", volume.name, make)

    async def remove(self, volume: VolumeSpec) -> None:
        """Unmount, and delete what is ours."""
        await unmount(self.place(volume), force=self.is_remote)
        await self.folders.discard(volume.name)
        self._looking.pop(volume.name, None)

    async def mount(self, volume: VolumeSpec, user: str) -> Path:
        """Mount it unless it is mounted."""
        target = self.place(volume)
        if not await self.folders.has(volume.name):
            raise Missing("the volume's directory is not there", name=volume.name)
        if await find_mount(target) is None:
            await self.attach(volume, target)
        return self.mountpoint(volume)

    async def unmount(self, volume: VolumeSpec, user: str, *, last: bool) -> None:
        """Unmount after the last user."""
        if last:
            await unmount(self.place(volume), force=self.is_remote)

    def place(self, volume: VolumeSpec) -> Path:
        """Where the file system is mounted."""
        return self.folders.path(volume.name) / DATA

    def looking(self, volume: VolumeSpec) -> trio.CapacityLimiter:
        """For the one thread that may wait for this volume's file system."""
        return self._looking.setdefault(volume.name, trio.CapacityLimiter(1))

    def mountpoint(self, volume: VolumeSpec) -> Path:
        """Where the bytes are, or would be."""
        return self.place(volume)

    async def usage(self, volume: VolumeSpec) -> VolumeUsage:
        """What the file system says of itself; unknown while it is not mounted."""
        target = self.place(volume)
        if await find_mount(target) is None:
            return UNKNOWN
        with translated("measure the volume", volume.name):
            found = await measure(target, self.looking(volume))
        return VolumeUsage(
            used_bytes=(found.f_blocks - found.f_bfree) * found.f_frsize,
            inodes=found.f_files - found.f_ffree,
            limit_bytes=found.f_blocks * found.f_frsize,
        )

    async def health(self, volume: VolumeSpec) -> VolumeHealth:
        """Whether the mounted file system answers.

        Raises:
            Unavailable: it does not.
        """
        if not await self.folders.has(volume.name):
            return VolumeHealth(state="unhealthy", reason="its directory is not there")
        try:
            await self.usage(volume)
        except VolDriverError as exc:
            if exc.kind == "unavailable":
                raise
            return VolumeHealth(state="unhealthy", reason=str(exc))
        return VolumeHealth(state="healthy")

    async def rename(self, volume: VolumeSpec, name: str) -> None:
        """Give the volume another name."""
        self._need("rename", volume)
        await self.folders.rename(volume.name, name)

    async def swap(self, volume: VolumeSpec, name: str) -> None:
        """Exchange two volumes."""
        self._need("rename", volume)
        await self.folders.swap(volume.name, name)

    async def clone(self, volume: VolumeSpec, target: VolumeSpec) -> CloneMethod:
        """Refused, unless a driver can."""
        raise self._cannot("clone", volume)

    async def resize(self, volume: VolumeSpec) -> None:
        """Refused, unless a driver can."""
        raise self._cannot("resize", volume)

    async def heal(self, volume: VolumeSpec) -> bool:
        """Nothing to do, unless a driver's programs can die."""
        return False

    async def clean(self) -> None:
        """Remove what an earlier, killed agent left half-made or half-deleted."""
        await self.folders.clean()

    def _need(self, ability: Ability, volume: VolumeSpec) -> None:
        if ability not in self.abilities(volume):
            raise self._cannot(ability, volume)

    def _cannot(self, what: str, volume: VolumeSpec) -> Refused:
        return Refused(
            f"volumes of the driver {self.name!r} cannot {what}",
            name=volume.name,
            driver=self.name,
        )


def check_options(volume: VolumeSpec, known: Mapping[str, str]) -> None:
    """Refuse options that a driver does not have.

    Args:
        known: option to what it is, for the error.

    Raises:
        Invalid: names the option and those there are.
    """
    for option in volume.options:
        if option not in known:
            there_are = "; ".join(f"{key}: {what}" for key, what in known.items()) or "none"
            raise Invalid(
                f"option {option!r} is unknown to the volume driver {volume.driver!r};"
                f" there are {there_are}",
                field="options",
                value=option,
            )

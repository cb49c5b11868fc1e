"""Which volume drivers there are: ours, other packages' (entry points), and Docker's plugins."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final

from voldrivers.btrfs import Btrfs
from voldrivers.contract import GuardedDriver, VolumeDriver
from voldrivers.fuse import Fuse
from voldrivers.guard import Guarded
from voldrivers.image import Image
from voldrivers.local import Local
from voldrivers.nfs import Nfs
from voldrivers.plugin import places
from voldrivers.plugin.driver import Plugin
from voldrivers.tmpfs import Tmpfs

log = logging.getLogger(__name__)

GROUP: Final = "nodeagent.volume_drivers"

Factory = Callable[[Path], VolumeDriver]  # called with the agent's root
DRIVERS: Final[Mapping[str, Factory]] = {
    driver.name: driver for driver in (Local, Image, Btrfs, Tmpfs, Nfs, Fuse)
}


class DriverSet:
    """``voldrivers.contract.Drivers``: ours, other packages', and Docker's plugins."""

    def __init__(
        self, root: Path, others: Iterable[EntryPoint], plugin_folders: Sequence[Path]
    ) -> None:
        self._folders = plugin_folders
        self._known: dict[str, GuardedDriver] = build_drivers(root, others)

    def find(self, name: str) -> GuardedDriver | None:
        """The driver of that name, if there is one now (Invalid: a plugin's file is no good)."""
        if name in self._known and not isinstance(self._known[name], _GuardedPlugin):
            return self._known[name]
        return self.of(name) if places.find(name, self._folders) else None

    def of(self, name: str) -> GuardedDriver:
        """The driver of a volume that exists."""
        if name not in self._known:
            self._known[name] = _GuardedPlugin(Plugin(name, self._folders))
        return self._known[name]

    def all(self) -> list[GuardedDriver]:
        """Those that were asked for, and those that are always there."""
        return list(self._known.values())


class _GuardedPlugin(Guarded):
    """One that may be gone."""


def load_drivers(root: Path, plugin_folders: Sequence[Path] = places.FOLDERS) -> DriverSet:
    """Make every driver for the agent whose data is below ``root``."""
    return DriverSet(root, entry_points(group=GROUP), plugin_folders)


def build_drivers(root: Path, plugins: Iterable[EntryPoint]) -> dict[str, GuardedDriver]:
    """Our drivers and those of other packages, by name.

    One that takes a name that is taken, or cannot be made, is left out and logged: its volumes
    say so, and everything else goes on.
    """
    found: dict[str, GuardedDriver] = {
        name: Guarded(factory(root)) for name, factory in DRIVERS.items()
    }
    for plugin in plugins:
        if plugin.name in found:
            log.error(
                "two volume drivers of one name", extra={"driver": plugin.name, "by": plugin.value}
            )
            continue
        try:
            found[plugin.name] = Guarded(plugin.load()(root))
        except Exception:  # whatever somebody else's module does when it is imported
            log.exception(
                "the volume driver cannot be loaded",
                extra={"driver": plugin.name, "source": plugin.value},
            )
    return found

"""Which volume drivers there are: ours, and those that other packages bring as entry points."""

import logging
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final

from voldrivers.contract import GuardedDriver, VolumeDriver
from voldrivers.fuse import Fuse
from voldrivers.guard import Guarded
from voldrivers.image import Image
from voldrivers.local import Local
from voldrivers.nfs import Nfs
from voldrivers.tmpfs import Tmpfs

log = logging.getLogger(__name__)

GROUP: Final = "nodeagent.volume_drivers"

Factory = Callable[[Path], VolumeDriver]  # called with the agent's root
DRIVERS: Final[Mapping[str, Factory]] = {
    driver.name: driver for driver in (Local, Image, Tmpfs, Nfs, Fuse)
}


def load_drivers(root: Path) -> dict[str, GuardedDriver]:
    """Make every driver for the agent whose data is below ``root``."""
    return build_drivers(root, entry_points(group=GROUP))


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

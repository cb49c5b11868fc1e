"""Which volume drivers there are: ours, and those that other packages bring as entry points."""

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final

from voldrivers.contract import VolumeDriver
from voldrivers.errors import Conflict, Unavailable
from voldrivers.local import Local

GROUP: Final = "nodeagent.volume_drivers"

Factory = Callable[[Path], VolumeDriver]  # called with the agent's root
DRIVERS: Final[Mapping[str, Factory]] = {Local.name: Local}


def load_drivers(root: Path) -> dict[str, VolumeDriver]:
    """Make every driver for the agent whose data is below ``root``."""
    return build_drivers(root, entry_points(group=GROUP))


def build_drivers(root: Path, plugins: Iterable[EntryPoint]) -> dict[str, VolumeDriver]:
    """Our drivers and the plugins', by name.

    Raises:
        Conflict: a plugin takes a name that is taken. Unavailable: it cannot be imported.
    """
    factories = dict(DRIVERS)
    for plugin in plugins:
        if plugin.name in factories:
            raise Conflict("two volume drivers of one name", driver=plugin.name, by=plugin.value)
        factories[plugin.name] = _load(plugin)
    return {name: factory(root) for name, factory in factories.items()}


def _load(plugin: EntryPoint) -> Factory:
    try:
        factory: Factory = plugin.load()
    except (ImportError, AttributeError) as exc:
        raise Unavailable(
            "the volume driver cannot be loaded", driver=plugin.name, source=plugin.value
        ) from exc
    return factory

"""All network drivers by name: ours, and those that other packages add by entry point."""

from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from typing import Final, cast

from netdrivers.bridge import BridgeDriver
from netdrivers.contract.engine import NetworkDriver
from netdrivers.macvlan import MacvlanDriver
from netdrivers.mode import HostDriver, NullDriver
from netdrivers.overlay import OverlayDriver

GROUP: Final = "nodeagent.network_drivers"
DRIVERS: Final[tuple[type[NetworkDriver], ...]] = (
    BridgeDriver,
    MacvlanDriver,
    OverlayDriver,
    HostDriver,
    NullDriver,
)


def load_drivers() -> Mapping[str, NetworkDriver]:
    """One instance of each driver; the name of one of ours cannot be taken by another package."""
    found = (point.load() for point in entry_points(group=GROUP))
    return index_drivers([*cast("list[type[NetworkDriver]]", list(found)), *DRIVERS])


def index_drivers(classes: Iterable[type[NetworkDriver]]) -> Mapping[str, NetworkDriver]:
    """Instances by name; the last of one name wins."""
    return {driver.name: driver() for driver in classes}

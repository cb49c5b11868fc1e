"""What ends or freezes writers in time, also when the agent cannot."""

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

Policy = Literal["pause", "stop", "kill"]


class Ward(Struct, frozen=True, kw_only=True):
    """A container that may run until a time of the boot clock, for the sake of one volume."""

    container: str  # id
    volume: str
    policy: Policy
    until_s: float  # CLOCK_BOOTTIME: goes on in suspend, and no clock that is set moves it
    grace_s: float  # from then until one that was told to stop is killed
    epoch: int
    is_lost: bool = False  # somebody else may have the volume: it must not go on


class Book(Struct, frozen=True, kw_only=True):
    """All of them, and the session their leases are in."""

    session: int = 0
    node: str = ""
    wards: list[Ward] = []


class Fence(Protocol):
    """The watchdog, and what it goes by. It outlives the agent."""

    def now_s(self) -> float:
        """The boot clock."""
        ...

    async def read(self) -> Book:
        """What it goes by; also what a former agent wrote."""
        ...

    async def write(self, session: int, node: str, wards: Sequence[Ward]) -> None:
        """Have it go by that, and see that it runs; without wards it ends."""

    def is_frozen(self, container: str) -> bool:
        """Whether the container's processes stand still."""
        ...

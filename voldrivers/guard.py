"""The one way to a driver: every call has a deadline, and what hangs is not asked again and again.

What hangs costs its own domain only: the other volumes of the driver go on.
"""

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeVar

import trio

from voldrivers.breaker import Breaker
from voldrivers.contract import (
    Ability,
    CloneMethod,
    DriverState,
    VolumeDriver,
    VolumeHealth,
    VolumeSpec,
    VolumeUsage,
)
from voldrivers.errors import Internal, NotAsked, Unavailable, VolDriverError

_T = TypeVar("_T")

LOOK_S: Final = 5.0  # to ask after health or usage: somebody waits for a list
UNMOUNT_S: Final = 10.0  # who stops a container waits for it; a guess
CHANGE_S: Final = 60.0  # Docker's for its plugins
LONG_S: Final = 120.0  # Docker's for create and mount
DELETE_S: Final = 900.0  # trees of millions of files
UNKNOWN: Final = VolumeUsage(used_bytes=-1, inodes=-1)


class Guarded:
    """``voldrivers.contract.GuardedDriver``: a driver behind deadlines and breakers."""

    def __init__(self, driver: VolumeDriver) -> None:
        self._driver = driver
        self._breakers: dict[str, Breaker] = {}
        self._timings: dict[tuple[str, str], tuple[int, float]] = {}

    @property
    def name(self) -> str:
        """The driver's."""
        return self._driver.name

    @property
    def scope(self) -> Literal["local", "global"]:
        """The driver's; a plugin's is known once it was asked."""
        return self._driver.scope

    def abilities(self, volume: VolumeSpec) -> frozenset[Ability]:
        """As the driver's."""
        return self._driver.abilities(volume)

    # --- without I/O ----------------------------------------------------------------------------

    def check(self, volume: VolumeSpec) -> None:
        """As the driver's."""
        self._driver.check(volume)

    def domain(self, volume: VolumeSpec) -> str:
        """As the driver's."""
        return self._driver.domain(volume)

    def mountpoint(self, volume: VolumeSpec) -> Path | None:
        """As the driver's."""
        return self._driver.mountpoint(volume)

    def state(self, volume: VolumeSpec) -> DriverState:
        """Whether calls about the volume are answered."""
        breaker = self._breakers.get(self.domain(volume))
        if breaker is None:
            return DriverState(breaker="closed")
        return DriverState(breaker=breaker.state(trio.current_time()), reason=breaker.reason)

    def timings(self) -> Iterator[tuple[str, str, int, float]]:
        """(operation, result, calls, seconds in all) since the start."""
        for (operation, result), (calls, seconds) in self._timings.items():
            yield operation, result, calls, seconds

    # --- with -----------------------------------------------------------------------------------

    async def create(self, volume: VolumeSpec) -> None:
        """As the driver's, within 2 minutes."""
        await self._call("create", volume, LONG_S, partial(self._driver.create, volume))

    async def remove(self, volume: VolumeSpec) -> None:
        """As the driver's, within 15 minutes."""
        await self._call("remove", volume, DELETE_S, partial(self._driver.remove, volume))
        self._breakers.pop(volume.name, None)  # a new volume of this name begins anew

    async def mount(self, volume: VolumeSpec, user: str) -> Path:
        """As the driver's, within 2 minutes."""
        return await self._call("mount", volume, LONG_S, partial(self._driver.mount, volume, user))

    async def unmount(self, volume: VolumeSpec, user: str, *, last: bool) -> None:
        """As the driver's, within 10 seconds; it may be asked again."""
        call = partial(self._driver.unmount, volume, user, last=last)
        await self._call("unmount", volume, UNMOUNT_S, call)

    async def usage(self, volume: VolumeSpec) -> VolumeUsage:
        """As the driver's; unknown where that cannot be told in 5 seconds."""
        try:
            return await self._call("usage", volume, LOOK_S, partial(self._driver.usage, volume))
        except VolDriverError:
            return UNKNOWN  # why is told by its health

    async def health(self, volume: VolumeSpec) -> VolumeHealth:
        """As the driver's; unhealthy, with the reason, where it cannot be asked in 5 seconds."""
        try:
            return await self._call("health", volume, LOOK_S, partial(self._driver.health, volume))
        except VolDriverError as exc:
            return VolumeHealth(state="unhealthy", reason=str(exc))

    async def rename(self, volume: VolumeSpec, name: str) -> None:
        """As the driver's, within 1 minute."""
        await self._call("rename", volume, CHANGE_S, partial(self._driver.rename, volume, name))

    async def swap(self, volume: VolumeSpec, name: str) -> None:
        """As the driver's, within 1 minute."""
        await self._call("swap", volume, CHANGE_S, partial(self._driver.swap, volume, name))

    async def clone(self, volume: VolumeSpec, target: VolumeSpec) -> CloneMethod:
        """As the driver's; as long as its bytes take."""
        call = partial(self._driver.clone, volume, target)
        return await self._call("clone", volume, float("inf"), call)

    async def resize(self, volume: VolumeSpec) -> None:
        """As the driver's, within 15 minutes."""
        await self._call("resize", volume, DELETE_S, partial(self._driver.resize, volume))

    async def heal(self, volume: VolumeSpec) -> bool:
        """As the driver's, within 2 minutes."""
        return await self._call("heal", volume, LONG_S, partial(self._driver.heal, volume))

    async def clean(self) -> None:
        """As the driver's; it is cut off after 2 minutes, and goes on at the next start."""
        with trio.move_on_after(LONG_S):
            await self._driver.clean()

    async def _call(
        self, operation: str, volume: VolumeSpec, limit_s: float, call: Callable[[], Awaitable[_T]]
    ) -> _T:
        """Make one call.

        Raises:
            Unavailable: no answer within ``limit_s``. NotAsked: the breaker is open.
        """
        breaker = self._breakers.setdefault(self.domain(volume), Breaker())
        began_s = trio.current_time()
        if not breaker.enter(began_s):
            self._count(operation, "refused", 0.0)
            raise NotAsked(
                "the volume does not answer; it is asked again after a while",
                name=volume.name,
                driver=self.name,
                wait_s=f"{max(0.0, breaker.trial_s - began_s):.0f}",
                reason=breaker.reason,
            )
        result = "cancelled"
        try:
            with trio.fail_after(limit_s):
                found = await call()
            result = "ok"
        except trio.TooSlowError:
            result = "timeout"
            why = f"no answer to {operation} within {limit_s:.0f} s"
            breaker.fail(trio.current_time(), why, timed_out=True)
            raise Unavailable(why, name=volume.name, driver=self.name) from None
        except Unavailable as exc:
            result = "unavailable"
            breaker.fail(trio.current_time(), str(exc), timed_out=False)
            raise
        except VolDriverError:
            result = "error"  # but an answer
            breaker.succeed()
            raise
        except Exception as exc:
            result = "defect"
            breaker.succeed()
            raise Internal(
                "the volume driver failed", name=volume.name, driver=self.name, says=repr(exc)
            ) from exc
        finally:
            if result == "cancelled":
                breaker.leave()
            self._count(operation, result, trio.current_time() - began_s)
        breaker.succeed()
        return found

    def _count(self, operation: str, result: str, seconds: float) -> None:
        calls, before = self._timings.get((operation, result), (0, 0.0))
        self._timings[operation, result] = (calls + 1, before + seconds)

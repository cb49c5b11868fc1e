"""A Docker volume plugin as a driver."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, TypeVar

import trio

from voldrivers.contract import Ability, CloneMethod, VolumeHealth, VolumeSpec, VolumeUsage
from voldrivers.errors import Refused, Unavailable
from voldrivers.mounting import find_mount, measure
from voldrivers.plugin import wire
from voldrivers.plugin.places import Address, find
from voldrivers.plugin.transport import NotListening, post

T = TypeVar("T", bound=wire.Answer)

UNKNOWN: Final = VolumeUsage(used_bytes=-1, inodes=-1)
WAIT_S: Final = 5.0  # for one that starts just now; Docker waits up to 15
RETRY_S: Final = 0.5
GREET_S: Final = 5.0  # for a plugin that listens to say that it lives, on a busy host, too


class _Silent(Unavailable):
    """It listens and says nothing: not one that is just starting, so waiting is in vain."""


class Plugin:
    """``voldrivers.contract.VolumeDriver`` of somebody else's process.

    It is looked up and greeted anew after every call that it did not answer. So it may restart
    elsewhere, and one that is stopped costs the next caller a greeting, not a mount's 2 minutes.
    """

    def __init__(self, name: str, folders: Sequence[Path]) -> None:
        self.name = name
        self.scope: Literal["local", "global"] = "local"
        self._folders = folders
        self._address: Address | None = None  # of the one that was activated
        self._activating = trio.Lock()
        self._where: dict[str, Path] = {}  # mountpoints, as it said them
        self._refused: set[tuple[str, str]] = set()  # mounts that are none
        self._looking: dict[str, trio.CapacityLimiter] = {}

    def abilities(self, volume: VolumeSpec) -> frozenset[Ability]:
        """None: the protocol has none."""
        return frozenset()

    def check(self, volume: VolumeSpec) -> None:
        """Options are the plugin's to judge, at ``create``."""

    def domain(self, volume: VolumeSpec) -> str:
        """All its volumes hang with it."""
        return "plugin"

    async def create(self, volume: VolumeSpec) -> None:
        """Have the plugin make it (Refused: in its words)."""
        await self._call(
            wire.Answer, "VolumeDriver.Create", wait=True, Name=volume.name, Opts=volume.options
        )

    async def remove(self, volume: VolumeSpec) -> None:
        """Have the plugin delete it; nothing to do if it does not know it."""
        try:
            await self._call(wire.Answer, "VolumeDriver.Remove", Name=volume.name)
        except Refused:
            if (await self.health(volume)).state == "healthy":
                raise
        self._where.pop(volume.name, None)
        self._looking.pop(volume.name, None)

    async def mount(self, volume: VolumeSpec, user: str) -> Path:
        """Have the plugin mount it for this user; it counts them itself."""
        key = (volume.name, user)
        self._refused.discard(key)
        try:
            answer = await self._call(
                wire.Mounted, "VolumeDriver.Mount", wait=True, Name=volume.name, ID=user
            )
        except Refused:
            self._refused.add(key)  # then it must not hear of an unmount
            raise
        path = wire.check_mountpoint(answer.mountpoint, plugin=self.name)
        self._where[volume.name] = path
        return path

    async def unmount(self, volume: VolumeSpec, user: str, *, last: bool) -> None:
        """Tell it that this user is done; it unmounts after the last one."""
        key = (volume.name, user)
        if key in self._refused:
            self._refused.discard(key)
            return
        await self._call(wire.Answer, "VolumeDriver.Unmount", Name=volume.name, ID=user)

    def mountpoint(self, volume: VolumeSpec) -> Path | None:
        """Where it said the bytes are; None before it was asked."""
        return self._where.get(volume.name)

    async def usage(self, volume: VolumeSpec) -> VolumeUsage:
        """What the file system says that it mounted; plugins themselves do not tell."""
        path = self._where.get(volume.name)
        if path is None or not (await find_mount(path) or await find_mount(path.parent)):
            return UNKNOWN  # a folder among others: its file system is not its own
        limiter = self._looking.setdefault(volume.name, trio.CapacityLimiter(1))
        try:
            found = await measure(path, limiter)
        except OSError as exc:
            raise Unavailable(
                "the plugin's mount does not answer", name=volume.name, why=str(exc)
            ) from exc
        return VolumeUsage(
            used_bytes=(found.f_blocks - found.f_bfree) * found.f_frsize,
            inodes=found.f_files - found.f_ffree,
            limit_bytes=found.f_blocks * found.f_frsize,
        )

    async def health(self, volume: VolumeSpec) -> VolumeHealth:
        """Whether the plugin knows the volume."""
        try:
            got = await self._call(wire.Got, "VolumeDriver.Get", Name=volume.name)
        except Refused as exc:
            return VolumeHealth(state="unhealthy", reason=exc.doing)
        if got.volume is None or got.volume.name != volume.name:
            return VolumeHealth(state="unhealthy", reason="the plugin has no such volume")
        if got.volume.mountpoint:
            self._where[volume.name] = wire.check_mountpoint(
                got.volume.mountpoint, plugin=self.name
            )
        return VolumeHealth(state="healthy")

    async def rename(self, volume: VolumeSpec, name: str) -> None:
        """Not of the protocol."""
        raise self._cannot("rename")

    async def swap(self, volume: VolumeSpec, name: str) -> None:
        """Not of the protocol."""
        raise self._cannot("exchange")

    async def clone(self, volume: VolumeSpec, target: VolumeSpec) -> CloneMethod:
        """Not of the protocol."""
        raise self._cannot("clone")

    async def resize(self, volume: VolumeSpec) -> None:
        """Not of the protocol."""
        raise self._cannot("resize")

    async def heal(self, volume: VolumeSpec) -> bool:
        """The plugin's affair."""
        return False

    async def clean(self) -> None:
        """Nothing of it is ours."""

    def _cannot(self, what: str) -> Refused:
        return Refused(f"volumes of plugins cannot {what}", driver=self.name)

    async def _call(self, type_: type[T], call: str, *, wait: bool = False, **fields: object) -> T:
        """One call.

        Args:
            wait: for a plugin that is just starting.

        Raises:
            Unavailable: it is not there or does not answer. Refused: it said no.
        """
        request = wire.build_request(**fields)
        try:
            status, body = await self._post(f"/{call}", request, wait=wait)
        except NotListening:  # it may have restarted, perhaps elsewhere
            status, body = await self._post(f"/{call}", request, wait=wait)
        return wire.read_answer(type_, status, body, plugin=self.name, call=call)

    async def _post(self, path: str, request: bytes, *, wait: bool) -> tuple[int, bytes]:
        address = await self._reach(WAIT_S if wait else 0)
        try:
            return await post(address, path, request)
        except (Unavailable, trio.Cancelled):  # the second: the call's time was over
            self._address = None
            raise

    async def _reach(self, patience_s: float) -> Address:
        until = trio.current_time() + patience_s
        while True:
            try:
                return await self._activate()
            except _Silent:
                raise
            except Unavailable:
                if trio.current_time() >= until:
                    raise
            await trio.sleep(RETRY_S)

    async def _activate(self) -> Address:
        """Find it and shake hands, unless that was done."""
        async with self._activating:
            if self._address is None:
                address = find(self.name, self._folders)
                if address is None:
                    raise Unavailable(
                        f"there is no plugin {self.name!r}; it has no socket and no file in"
                        f" {', '.join(map(str, self._folders))}",
                        driver=self.name,
                    )
                try:
                    with trio.fail_after(GREET_S):
                        await self._greet(address)
                except trio.TooSlowError:
                    raise _Silent(
                        f"the plugin does not answer; no word within {GREET_S:.0f} s, so it may be"
                        " stopped: continue or restart it",
                        driver=self.name, at=address.path or address.host,
                    ) from None  # fmt: skip
                self._address = address
            return self._address

    async def _greet(self, address: Address) -> None:
        """Shake hands (Refused: it is for something else)."""
        status, body = await post(address, "/Plugin.Activate", wire.build_request())
        answer = wire.read_answer(
            wire.Activated, status, body, plugin=self.name, call="Plugin.Activate"
        )
        if wire.IMPLEMENTS not in (answer.implements or ()):
            raise Refused(
                "the plugin is not for volumes", plugin=self.name, is_for=answer.implements
            )
        self.scope = await self._ask_scope(address)

    async def _ask_scope(self, address: Address) -> Literal["local", "global"]:
        status, body = await post(address, "/VolumeDriver.Capabilities", wire.build_request())
        if status == 404:
            return "local"
        answer = wire.read_answer(
            wire.Capable, status, body, plugin=self.name, call="VolumeDriver.Capabilities"
        )
        scope = answer.capabilities.scope if answer.capabilities else "local"
        return "global" if scope == "global" else "local"

"""A driver of ours as a Docker volume plugin: what its calls do.

Which volumes there are, with their options, and who has which mounted is one file, written whole
before the driver acts; so a kill costs nothing that cannot be asked for again.
"""

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
import trio
from msgspec import Struct, field

from voldrivers.contract import VolumeDriver, VolumeSpec
from voldrivers.errors import Busy, Missing, VolDriverError
from voldrivers.plugin.wire import IMPLEMENTS

Json = Mapping[str, object]


class Request(Struct, frozen=True, rename="pascal"):
    """What a call may bring."""

    name: str = ""
    id: str = field(name="ID", default="")
    opts: dict[str, str] | None = None


class Kept(Struct, frozen=True, kw_only=True):
    """One volume as kept in the file."""

    options: dict[str, str]
    created: str
    users: list[str] = []


class Served:
    """Answers calls. One at a time for each volume."""

    def __init__(self, driver: VolumeDriver, state: Path, now: Callable[[], str]) -> None:
        self._driver = driver
        self._state = state
        self._now = now
        self._volumes: dict[str, Kept] = {}
        self._turns: dict[str, trio.Lock] = {}
        self._calls: Mapping[str, Callable[[Request], Awaitable[Json]]] = {
            "/Plugin.Activate": self._activate,
            "/VolumeDriver.Capabilities": self._capabilities,
            "/VolumeDriver.Create": self._create,
            "/VolumeDriver.Remove": self._remove,
            "/VolumeDriver.Mount": self._mount,
            "/VolumeDriver.Unmount": self._unmount,
            "/VolumeDriver.Path": self._path,
            "/VolumeDriver.Get": self._get,
            "/VolumeDriver.List": self._list,
        }

    def load(self) -> None:
        """Read what was kept; only at start (OSError, msgspec.DecodeError)."""
        if self._state.exists():
            self._volumes = msgspec.json.decode(self._state.read_bytes(), type=dict[str, Kept])

    async def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        """(status, body) for one call. An error of the driver is told as ``Err``."""
        call = self._calls.get(path)
        if call is None:
            return 404, b'{"Err":"no such call"}'
        try:
            request = msgspec.json.decode(body or b"{}", type=Request)
        except msgspec.DecodeError as exc:
            return 400, msgspec.json.encode({"Err": f"the request cannot be read: {exc}"})
        try:
            async with self._turns.setdefault(request.name, trio.Lock()):
                found = await call(request)
        except VolDriverError as exc:
            return 500, msgspec.json.encode({"Err": str(exc)})
        return 200, msgspec.json.encode({"Err": "", **found})

    def _spec(self, name: str) -> VolumeSpec:
        return VolumeSpec(name=name, driver=self._driver.name, options=self._known(name).options)

    def _known(self, name: str) -> Kept:
        if name not in self._volumes:
            raise Missing("volume not found", name=name)
        return self._volumes[name]

    def _keep(self, name: str, kept: Kept | None) -> None:
        volumes = {key: each for key, each in self._volumes.items() if key != name}
        if kept is not None:
            volumes[name] = kept
        draft = self._state.with_suffix(".new")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(volumes))
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self._state)
        self._volumes = volumes

    # --- the calls ------------------------------------------------------------------------------

    async def _activate(self, _request: Request) -> Json:
        return {"Implements": [IMPLEMENTS]}

    async def _capabilities(self, _request: Request) -> Json:
        return {"Capabilities": {"Scope": self._driver.scope}}

    async def _create(self, request: Request) -> Json:
        if request.name not in self._volumes:
            options = request.opts or {}
            spec = VolumeSpec(name=request.name, driver=self._driver.name, options=options)
            self._driver.check(spec)
            self._keep(request.name, Kept(options=options, created=self._now()))
        try:
            await self._driver.create(self._spec(request.name))
        except VolDriverError:
            self._keep(request.name, None)
            raise
        return {}

    async def _remove(self, request: Request) -> Json:
        kept = self._known(request.name)
        if kept.users:
            raise Busy("volume is in use", name=request.name, by=kept.users)
        await self._driver.remove(self._spec(request.name))
        self._keep(request.name, None)
        return {}

    async def _mount(self, request: Request) -> Json:
        kept = self._known(request.name)
        if request.id not in kept.users:
            users = [*kept.users, request.id]
            self._keep(request.name, msgspec.structs.replace(kept, users=users))
        try:
            place = await self._driver.mount(self._spec(request.name), request.id)
        except VolDriverError:
            self._keep(request.name, kept)
            raise
        return {"Mountpoint": str(place)}

    async def _unmount(self, request: Request) -> Json:
        kept = self._known(request.name)
        users = [each for each in kept.users if each != request.id]
        await self._driver.unmount(self._spec(request.name), request.id, last=not users)
        self._keep(request.name, msgspec.structs.replace(kept, users=users))
        return {}

    async def _path(self, request: Request) -> Json:
        return {"Mountpoint": self._place(request.name)}

    def _place(self, name: str) -> str:
        """Where it is mounted; "" while it is not, as Docker expects."""
        kept = self._known(name)
        return str(self._driver.mountpoint(self._spec(name)) or "") if kept.users else ""

    def _volume(self, name: str) -> Json:
        return {
            "Name": name,
            "Mountpoint": self._place(name),
            "CreatedAt": self._known(name).created,
        }

    async def _get(self, request: Request) -> Json:
        self._known(request.name)
        usage = await self._driver.usage(self._spec(request.name))
        health = await self._driver.health(self._spec(request.name))
        status = {
            "UsedBytes": usage.used_bytes,
            "LimitBytes": usage.limit_bytes,
            "Health": health.state,
            "Reason": health.reason,
        }
        return {"Volume": {**self._volume(request.name), "Status": status}}

    async def _list(self, _request: Request) -> Json:
        return {"Volumes": [self._volume(name) for name in sorted(self._volumes)]}

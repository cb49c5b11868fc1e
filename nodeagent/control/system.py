"""The agent itself: information, disk use, events."""

import platform
from collections import Counter
from collections.abc import Awaitable, Callable

import trio

from nodeagent.control import hostinfo
from nodeagent.control.containers import Containers
from nodeagent.control.creation import matches_labels
from nodeagent.control.events import Subscriber
from nodeagent.control.filters import check_known
from nodeagent.control.imaging import Imaging
from nodeagent.control.parts import Parts
from nodeagent.control.sizes import Sizes
from nodeagent.control.times import build_time, parse_since
from nodeagent.control.volumes import Volumes
from nodeagent.errors import kind_of
from nodeagent.model.system import DiskUsageRow, Event, InfoView, VersionView

VERSION = "0.1.0"
API_VERSION = "1"
FILTERS = ("type", "event", "container", "image", "network", "volume", "id", "label")


class System:
    """Use cases about the agent."""

    def __init__(
        self, parts: Parts, imaging: Imaging, volumes: Volumes, sizes: Sizes, containers: Containers
    ) -> None:
        self._parts = parts
        self._imaging = imaging
        self._volumes = volumes
        self._sizes = sizes
        self._containers = containers
        self._started_at = build_time(parts.now())

    def version(self) -> VersionView:
        """Versions of the agent and what it stands on."""
        return VersionView(
            version=VERSION,
            api_version=API_VERSION,
            python_version=platform.python_version(),
            kernel_version=platform.release(),
            os="linux",
            arch=platform.machine(),
        )

    def info(self) -> InfoView:
        """The agent, its host and its counts."""
        inventory, settings = self._parts.inventory, self._parts.settings
        known = inventory.containers.values()
        phases = Counter(record.phase for record in known)
        paused = sum(self._containers.is_paused(record.id) for record in known)
        name, _, version = self.runtime_name().partition(" ")
        return InfoView(
            id=settings.agent_id,
            name=hostinfo.host_name(),
            server_version=VERSION,
            containers=len(inventory.containers),
            containers_running=phases["running"] - paused,
            containers_paused=paused,
            containers_stopped=phases["exited"] + phases["created"],
            images=len(self._parts.images.ls()),
            networks=len(inventory.networks),
            volumes=len(inventory.volumes),
            driver="overlay2",
            runtime=name,
            runtime_version=version,
            cgroup_driver="cgroupfs",
            cgroup_version=hostinfo.read_cgroup_version(),
            kernel_version=platform.release(),
            operating_system=hostinfo.read_os_name(),
            architecture=platform.machine(),
            cpus=hostinfo.cpu_count(),
            mem_total=hostinfo.read_memory_bytes(),
            root_dir=str(settings.root),
            run_dir=str(settings.run),
            metrics_address=settings.metrics_address,
            started_at=self._started_at,
            warnings=[],
        )

    def runtime_name(self) -> str:
        """Name and version of the OCI runtime; "" if none works here."""
        try:
            return self._parts.runtime.runtime_name()
        except Exception as exc:
            if kind_of(exc) != "unavailable":
                raise
            return ""

    async def df(self) -> list[DiskUsageRow]:
        """Disk use of images, containers and volumes."""
        images = self._parts.images.ls()
        active = [image for image in images if self._imaging.users(image.id)]
        unused = sum(image.size_bytes for image in images) - sum(i.size_bytes for i in active)
        volumes, active_volumes, free_bytes = 0, 0, 0
        for record in list(self._parts.inventory.volumes.values()):
            used_bytes = await self._volumes.used_bytes(record)
            volumes += used_bytes
            used = bool(self._parts.inventory.volume_users(record.name))
            active_volumes += used
            free_bytes += 0 if used else used_bytes
        containers = list(self._parts.inventory.containers.values())
        writable = {record.id: await self._sizes.writable(record.id) for record in containers}
        down = sum(writable[r.id] for r in containers if r.phase != "running")
        return [
            DiskUsageRow(type="Images", total_count=len(images), active=len(active),
                         size=self._parts.images.used_bytes(), reclaimable=unused),
            DiskUsageRow(type="Containers", total_count=len(writable),
                         active=sum(r.phase == "running" for r in containers),
                         size=sum(writable.values()), reclaimable=down),
            DiskUsageRow(type="Local Volumes", total_count=len(self._parts.inventory.volumes),
                         active=active_volumes, size=volumes, reclaimable=free_bytes),
        ]  # fmt: skip

    async def events(
        self,
        send: Callable[[Event], Awaitable[None]],
        *,
        since: str,
        until: str,
        filters: dict[str, list[str]],
    ) -> None:
        """Send events that pass the filters; returns at ``until``."""
        check_known(filters, FILTERS)
        now = self._parts.now()
        end = parse_since(until, now=now, field="until") if until else None
        is_past = end is not None and end <= now
        # what is over can only be told from the history: its beginning, if none is given
        default = 0.0 if is_past else now
        start = parse_since(since, now=now, field="since") if since else default
        if end is not None and is_past:
            for past in self._parts.events.history(int(start * 1e9)):
                if past.time_ns <= end * 1e9 and _passes(past, filters):
                    await send(past)
            return
        deadline = trio.current_time() + (end - now if end is not None else float("inf"))
        with self._parts.events.subscribe(int(start * 1e9)) as subscriber:
            while (event := await _before(deadline, subscriber)) is not None:
                if _passes(event, filters):
                    await send(event)


async def _before(deadline: float, subscriber: Subscriber) -> Event | None:
    with trio.move_on_at(deadline):
        return await subscriber.receive()
    return None


def _passes(event: Event, filters: dict[str, list[str]]) -> bool:
    for key, wanted in filters.items():
        if key == "type":
            passes = event.type in wanted
        elif key == "event":
            passes = bool({event.action, event.action.partition(":")[0]} & set(wanted))
        elif key == "label":
            passes = matches_labels(event.attributes, wanted)
        elif key == "id":
            passes = any(event.id.startswith(word) for word in wanted)
        else:
            passes = event.type == key and (
                event.name in wanted or any(event.id.startswith(word) for word in wanted)
            )
        if not passes:
            return False
    return True

"""A volume driver that keeps nothing, and fails or waits where a test says so."""

from pathlib import Path

from voldrivers.contract import VolumeHealth, VolumeUsage
from voldrivers.guard import Guarded
from voldrivers.plugin.driver import Plugin


class FakeVolumeDriver:
    name, scope = "local", "local"

    def __init__(self, faults):
        self._faults = faults
        self.there = set()
        self.mounted = {}  # users by volume
        self.heals = False  # finds its mount dead once, and mounts it again

    def abilities(self, volume):
        return frozenset({"rename", "clone", "heal"} if self.heals else {"rename", "clone"})

    def domain(self, volume):
        return volume.name

    def check(self, volume):
        pass

    async def create(self, volume):
        await self._faults.pass_("volume create")
        self.there.add(volume.name)

    async def remove(self, volume):
        await self._faults.pass_("volume remove")
        self.there.discard(volume.name)

    async def mount(self, volume, user):
        await self._faults.pass_("volume mount")
        self.mounted.setdefault(volume.name, set()).add(user)
        return Path("/volumes") / volume.name

    async def unmount(self, volume, user, *, last):
        await self._faults.pass_("volume unmount")
        self.mounted.get(volume.name, set()).discard(user)
        assert last == (not self.mounted.get(volume.name))

    def mountpoint(self, volume):
        return Path("/volumes") / volume.name

    async def usage(self, volume):
        await self._faults.pass_("volume usage")
        return VolumeUsage(used_bytes=1, inodes=1)

    async def health(self, volume):
        await self._faults.pass_("volume health")
        return VolumeHealth(state="healthy")

    async def clone(self, volume, target):
        await self._faults.pass_("volume clone")
        self.there.add(target.name)
        return "copy"

    async def rename(self, volume, name):
        await self._faults.pass_("volume rename")
        self.there.discard(volume.name)
        self.there.add(name)

    async def heal(self, volume):
        healed, self.heals = self.heals, False
        return healed

    async def swap(self, volume, name):
        await self._faults.pass_("volume swap")

    async def clean(self):
        await self._faults.pass_("volume clean")


class FakeDrivers:
    """The one driver, really guarded; what is not there is a plugin that is not there."""

    def __init__(self, driver):
        self._known = {driver.name: Guarded(driver)}

    def find(self, name):
        return self._known.get(name)

    def of(self, name):
        return self._known.get(name) or Guarded(Plugin(name, ()))

    def all(self):
        return list(self._known.values())


class FakePartMounts:
    def __init__(self):
        self.grafted = []

    async def open(self, container_id, n, volume, subpath):
        return volume / subpath

    async def graft(self, pid, source, target, *, read_only):
        self.grafted.append(target)

    async def close(self, container_id):
        pass

    async def ls(self):
        return []


class FakeSharedMemory:
    def __init__(self):
        self.there = set()

    def path(self, container_id):
        return Path("/shm") / container_id

    async def open(self, container_id, *, size_bytes):
        self.there.add(container_id)
        return self.path(container_id)

    async def close(self, container_id):
        self.there.discard(container_id)

    async def ls(self):
        return sorted(self.there)


class FakeMappedMounts:
    def __init__(self):
        self.there = set()

    async def open(self, container_id, ids, root, sources):
        self.there.add(container_id)
        return [root, *sources]

    async def close(self, container_id):
        self.there.discard(container_id)

    async def ls(self):
        return sorted(self.there)


class FakeCopyUp:
    async def copy_up(self, rootfs, target, volume):
        return False

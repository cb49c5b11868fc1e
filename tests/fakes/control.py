"""Parts for the use cases, all in memory: what is up, and doors that a test shuts or breaks."""

from pathlib import Path

import trio

from netdrivers.contract.engine import Report
from netdrivers.dns.counts import Counts
from nodeagent.control.addresses import Addresses
from nodeagent.control.containers import Containers
from nodeagent.control.events import Events
from nodeagent.control.inventory import Inventory
from nodeagent.control.lifecycle import Lifecycle
from nodeagent.control.parts import Parts, Settings
from nodeagent.control.pruning import Pruner
from nodeagent.control.repair import Repairer
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.control.sizes import Sizes
from nodeagent.control.volumecopies import VolumeCopies
from nodeagent.control.volumes import Volumes
from nodeagent.control.volumeuse import VolumeUse
from nodeagent.errors import Conflict, Missing
from nodeagent.state.leases import Leases
from nodeagent.state.store import Conflict as StoreConflict
from nodeagent.state.store import Row
from runtime.contract.container import Exit, Process
from runtime.contract.image import Image
from runtime.imageconfig import ImageConfig
from tests.fakes.logbook import FakeLogbook
from tests.fakes.volumes import (
    FakeCopyUp,
    FakeDrivers,
    FakeMappedMounts,
    FakePartMounts,
    FakeSharedMemory,
    FakeVolumeDriver,
)

IMAGE = Image(
    id="sha256:" + "1" * 64, manifest_digest="", index_digest="", repo_tags=("busybox:latest",),
    repo_digests=(), created="", os="linux", architecture="amd64", variant="",
    config=ImageConfig(cmd=("sh",)), diff_ids=(), layer_digests=(), history=(), size_bytes=0,
)  # fmt: skip


class Faults:
    """Errors to raise, and doors to wait at, by name of the step."""

    def __init__(self):
        self.errors = {}
        self.doors = {}
        self.calls = []

    async def pass_(self, step):
        await trio.lowlevel.checkpoint()
        self.calls.append(step)
        if step in self.doors:
            await self.doors[step].wait()
        if step in self.errors:
            raise self.errors[step]

    def shut(self, step):
        """Nobody passes until the event is set."""
        self.doors[step] = trio.Event()
        return self.doors[step]


class FakeStore:
    def __init__(self, faults):
        self.rows = {}
        self._faults = faults
        self._revision = 1
        self._revisions = {}  # by key

    async def commit(self, *ops):
        await self._faults.pass_("commit")
        for op in ops:
            has = self._revisions.get(op.key, 0)
            if op.expect not in {None, has}:
                raise StoreConflict(key=op.key, expect=op.expect, revision=has)
        self._revision += bool(ops)
        for op in ops:
            if hasattr(op, "value"):
                self.rows[op.key] = op.value
                self._revisions[op.key] = self._revision
            else:
                self.rows.pop(op.key, None)
                self._revisions.pop(op.key, None)
        return self._revision

    async def get(self, key):
        return Row(key, self.rows[key], self._revisions[key]) if key in self.rows else None


async def _pass_probe(_sink):
    return 0


class FakeRuntime:
    """Containers end when ``end`` says so, or are killed."""

    def __init__(self, faults):
        self._faults = faults
        self.logbook = FakeLogbook(faults)
        self.up = {}
        self.signals = []
        self.found = []
        self.probed = []  # when; trio's clock
        self.answer = _pass_probe

    async def probe(self, container_id, process, sink):
        await self._faults.pass_("probe")
        if container_id not in self.up:
            raise Missing("it has ended")
        self.probed.append(trio.current_time())
        return await self.answer(sink)

    async def create(self, spec):
        await self._faults.pass_("create")
        self.up[spec.id] = (trio.Event(), [])
        return Process(pid=7, conmon_pid=8, started_ticks=9)

    async def start(self, container_id):
        await self._faults.pass_("start")

    def end(self, container_id, code=0):
        ended, codes = self.up[container_id]
        codes.append(code)
        ended.set()

    async def kill(self, container_id, signal):
        await self._faults.pass_("kill")
        self.signals.append(signal)
        if container_id not in self.up:
            raise Missing("it has ended")
        if signal in {9, 15}:
            self.end(container_id, 128 + signal)

    async def wait_exit(self, container_id):
        await self._faults.pass_("wait_exit")
        if container_id not in self.up:
            raise Missing("no such container")
        ended, codes = self.up[container_id]
        await ended.wait()
        if container_id not in self.up:
            raise Missing("it was deleted")
        return Exit(code=codes[-1], finished_at=1000.0)

    async def delete(self, container_id):
        await self._faults.pass_("delete")
        if container_id in self.up:
            self.up.pop(container_id)[0].set()

    async def pause(self, container_id):
        await self._faults.pass_("pause")

    async def unpause(self, container_id):
        await self._faults.pass_("unpause")

    async def scan(self):
        return self.found

    def runtime_name(self):
        return "crun 1"


class FakeEngine:
    def __init__(self, faults):
        self._faults = faults
        self.held = set()
        self.foreign = set()  # what somebody else has
        self._numbers = iter(range(40000, 61000))
        self.desired = None
        self.routes = []
        self.drift = ()  # what a look finds

    async def make_sandbox(self, sandbox_id):
        await self._faults.pass_("make_sandbox")
        return Path("/run/netns") / sandbox_id

    async def apply(self, desired, scope, *, mend=False):
        await self._faults.pass_("apply" if scope else "repair")
        self.desired = desired
        return Report(ops=self.mended(scope))

    def mended(self, scope):
        """Of the drift that was set, what lies in scope; it is no more afterwards."""
        owners = scope.networks | scope.sandboxes if scope else {op.obj.owner for op in self.drift}
        done = tuple(op for op in self.drift if op.obj.owner in owners)
        self.drift = tuple(op for op in self.drift if op not in done)
        return done

    async def others(self):
        return {"east": 3}

    async def look(self, desired, *, fresh):
        await self._faults.pass_("look")
        self.desired = desired
        return Report(ops=self.drift)

    async def hold_ports(self, ports):
        ports = list(ports)
        if ports and "hold" in self._faults.errors:
            raise self._faults.errors["hold"]
        taken = set()
        for port in ports:
            key = (port.protocol, port.host_ip, port.host_port)
            if key in self.held | taken | self.foreign:
                ours = {} if key in self.foreign else {"held_ip": port.host_ip}
                raise Conflict(
                    "address already in use", host_ip=port.host_ip, host_port=port.host_port,
                    protocol=port.protocol, **ours,
                )  # fmt: skip
            taken.add(key)
        self.held |= taken

    def pick_port(self, protocol, host_ip):
        port = next(n for n in self._numbers if (protocol, host_ip, n) not in self.held)
        self.held.add((protocol, host_ip, port))
        return port

    def release_ports(self, ports):
        self.held -= {(port.protocol, port.host_ip, port.host_port) for port in ports}

    def is_bound(self, port):
        return (port.protocol, port.host_ip, port.host_port) in self.held

    async def uplink_mtu(self):
        return 0

    async def host_routes(self):
        return list(self.routes)

    def counters(self, sandbox_id):
        if sandbox_id and "counters" in self._faults.errors:
            raise self._faults.errors["counters"]
        return {}

    def objects(self, desired, scope):
        return ()


class FakeNames:
    def __init__(self):
        self.opened = {}
        self.table = None

    def open(self, sandbox_id, netns, port):
        self.opened[sandbox_id] = port or 5353
        return self.opened[sandbox_id]

    def close(self, sandbox_id):
        self.opened.pop(sandbox_id, None)

    def served(self):
        return self.opened.keys()

    def set_table(self, table):
        self.table = table

    def statistics(self):
        return {}

    def latency(self):
        return Counts().latency()

    def upstreams(self):
        return {}

    def dropped(self):
        return Counts().dropped

    def cache_entries(self):
        return 0


class FakeRoots:
    def __init__(self, faults):
        self._faults = faults
        self.there = set()
        self.sizes = {}  # bytes of the writable layer by container id

    async def mount(self, container_id, layers, *, image_id, size_bytes=0, ids=None):
        await self._faults.pass_("mount")
        self.there.add(container_id)
        return Path("/merged")

    async def unmount(self, container_id):
        await self._faults.pass_("unmount")

    async def remove(self, container_id):
        await self._faults.pass_("remove")
        self.there.discard(container_id)

    async def ls(self):
        return list(self.there)

    async def used_bytes(self, container_id):
        await trio.lowlevel.checkpoint()
        return self.sizes.get(container_id, 0)


class FakeImages:
    def __init__(self):
        self.images = [IMAGE]

    async def open(self):
        await trio.lowlevel.checkpoint()

    def get(self, name):
        return self.images[0]

    def ls(self):
        return list(self.images)

    def layer_paths(self, image):
        return []

    def used_bytes(self):
        return 0


class Control:
    """The use cases over fakes; ``nursery`` is the daemon's."""

    def __init__(self, root, nursery, **settings):
        self.faults = Faults()
        self.clock = lambda: 1000.0
        self.store = FakeStore(self.faults)
        self.inventory = Inventory(self.store)
        self.runtime = FakeRuntime(self.faults)
        self.engine = FakeEngine(self.faults)
        self.roots = FakeRoots(self.faults)
        self.names = FakeNames()
        self.images = FakeImages()
        self.volume_driver = FakeVolumeDriver(self.faults)
        self._ids = 0
        self.parts = Parts(
            settings=Settings(**{
                "root": root, "run": root, "agent_id": "test", "metrics_address": "",
                "pools": (("10.0.0.0/8", 24),), "mtu_bytes": 1500,
                "publish_addresses": ("127.0.0.1",), "dns_upstreams": ("9.9.9.9",), **settings,
            }),
            inventory=self.inventory, events=Events(lambda: self.clock()), images=self.images,
            roots=self.roots, runtime=self.runtime, engine=self.engine, names=self.names,
            volume_drivers=FakeDrivers(self.volume_driver),
            leases=Leases(self.store), copy_up=FakeCopyUp(),
            part_mounts=FakePartMounts(),
            shared_memory=FakeSharedMemory(),
            mapped_mounts=FakeMappedMounts(),
            backups=None,
            now=lambda: self.clock(), new_id=self._new_id,
        )  # fmt: skip
        self.sandboxes = Sandboxes(self.parts)
        self.repairer = Repairer(self.parts, self.sandboxes)
        self.addresses = Addresses(self.inventory)
        self.volumes = Volumes(self.parts, VolumeUse(self.parts))
        self.copies = VolumeCopies(self.parts, self.volumes)
        self.containers = Containers(self.parts, self.sandboxes, self.addresses, self.volumes)
        self.lifecycle = Lifecycle(
            self.parts, self.sandboxes, self.containers, self.volumes, nursery, _nobody
        )
        self.sizes = Sizes(self.parts)
        self.pruner = Pruner(self.parts, self.lifecycle, self.sizes)

    def _new_id(self):
        self._ids += 1
        return f"{self._ids:064x}"

    def phase(self, id_="a" * 64):
        record = self.inventory.containers.get(id_)
        return record.phase if record else "gone"

    def actions(self):
        """Events so far."""
        return [each.action for each in self.parts.events.history(0)]


async def _nobody(_id):
    pass

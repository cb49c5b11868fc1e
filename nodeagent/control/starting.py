"""The steps from a record to a running program, and back."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import trio

from nodeagent.control.desired import has_sandbox, net_sysctls
from nodeagent.control.etcdir import FILES, etc_directory, rewrite
from nodeagent.control.etcfiles import build_hostname
from nodeagent.control.namespacerules import namespace_of
from nodeagent.control.parts import Parts
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.control.volumeuse import VolumeUse
from nodeagent.errors import Conflict, Invalid
from nodeagent.model.container import ContainerRecord, MountRecord
from nodeagent.model.containerrequest import ContainerCreate
from runtime.contract.container import (
    ContainerSpec,
    IoLimit,
    Limits,
    MountPoint,
    Process,
    ProcessSpec,
)
from runtime.contract.rootfs import IdRange

SHM = "/dev/shm"  # noqa: S108  a mount point


class Starter:
    """Builds the surroundings of a container, starts it, and clears them away."""

    def __init__(
        self,
        parts: Parts,
        sandboxes: Sandboxes,
        volumes: VolumeUse,
        at_gate: Callable[[str], Awaitable[None]],
    ) -> None:
        self._parts = parts
        self._sandboxes = sandboxes
        self._volumes = volumes
        self._at_gate = at_gate

    # --- up -----------------------------------------------------------------------------------

    async def run(self, record: ContainerRecord) -> Process:
        """Root filesystem, volumes and network at once, then the program.

        Whatever fails, ``clean`` takes the rest away.
        """
        rootfs, netns = Path(), self._joined(record)
        mounts: tuple[MountPoint, ...] = ()

        async def files() -> None:
            nonlocal rootfs, mounts
            rootfs, mounts = await self._files(record)

        async def network() -> None:
            nonlocal netns
            netns = await self._sandboxes.open(record) or netns

        await _together(files, network)
        spec = build_spec(record, rootfs, netns, (*self._etc(record), *mounts))
        spec = await self._mapped(record, await self._sharing(record, spec))
        spec = self._with_epochs(record, spec)
        hostname = build_hostname(self._network_owner(record))
        # not the agent's own limit, which is raised: programs close or select all they may have
        limits = {**self._parts.settings.ulimits, **spec.ulimits}
        process = await self._parts.runtime.create(replace(spec, hostname=hostname, ulimits=limits))
        await self._at_gate(record.id)
        self._sandboxes.show(record.id)
        if self._volumes.fence is not None:
            # after ``create``: from there on the watchdog ends what it finds too late
            self._volumes.fence.check(record.id)
        await self._parts.runtime.start(record.id)
        return process

    def _with_epochs(self, record: ContainerRecord, spec: ContainerSpec) -> ContainerSpec:
        """With the epochs of its leases, for what it writes."""
        fence = self._volumes.fence
        env = build_epochs(fence.epochs(record.id) if fence else {})
        return replace(spec, process=replace(spec.process, env=(*spec.process.env, *env)))

    async def _sharing(self, record: ContainerRecord, spec: ContainerSpec) -> ContainerSpec:
        """With what it has of other containers, and they of it."""
        asked, memory = record.request, self._parts.shared_memory
        spec = replace(
            spec,
            pid_ns=self._namespace_of(record.pid_owner, "pid") or namespace_of(asked.pid_mode),
            ipc_ns=self._namespace_of(record.ipc_owner, "ipc") or namespace_of(asked.ipc_mode),
        )
        if any(mount.target == SHM for mount in spec.mounts):
            return spec
        if record.ipc_owner:
            shm = memory.path(record.ipc_owner)
        elif asked.ipc_mode == "shareable":
            shm = await memory.open(record.id, size_bytes=asked.shm_size_bytes)
        else:
            return spec
        safe = ("nosuid", "noexec", "nodev")
        mount = MountPoint(type="bind", source=str(shm), target=SHM, options=safe)
        return replace(spec, mounts=(*spec.mounts, mount))

    async def _mapped(self, record: ContainerRecord, spec: ContainerSpec) -> ContainerSpec:
        """With its root and mounts where the ids of its user namespace reach them."""
        ids = id_range(record)
        if ids is None:
            return spec
        binds = [mount for mount in spec.mounts if mount.type == "bind"]
        sources = [Path(mount.source) for mount in binds]
        root, *places = await self._parts.mapped_mounts.open(record.id, ids, spec.rootfs, sources)
        moved = {id(mount): place for mount, place in zip(binds, places, strict=True)}
        mounts = (
            replace(mount, source=str(moved[id(mount)])) if id(mount) in moved else mount
            for mount in spec.mounts
        )
        of_network = net_sysctls(record)
        sysctls = {
            name: value
            for name, value in spec.sysctls.items()
            if name.replace("/", ".") not in of_network  # the sandbox has them
        }
        return replace(spec, ids=ids, rootfs=root, mounts=tuple(mounts), sysctls=sysctls)

    def _namespace_of(self, owner: str, kind: str) -> str:
        """Path of a namespace of another container that has to run; "" if there is no other."""
        if not owner:
            return ""
        pid = self._volumes.pid_of(owner)
        if not pid:
            raise Conflict(
                f"the container whose {kind} namespace is to be shared does not run; start it"
                " first",
                field=f"{kind}_mode",
                owner=owner[:12],
            )
        return f"/proc/{pid}/ns/{kind}"

    def _joined(self, record: ContainerRecord) -> str:
        """Namespace path of the container whose network this one shares; "" if it has its own."""
        if not record.network_mode.startswith("container:"):
            return ""
        owner = record.network_mode.partition(":")[2]
        target = self._parts.inventory.containers.get(owner)
        if target is None or target.phase != "running":
            state = "does not run" if target else "is gone"
            raise Conflict(
                f"the container whose network is to be shared {state}",
                field="network_mode",
                name=target.name if target else owner[:12],
            )
        if not has_sandbox(target):
            return self._joined(target)
        return str(self._parts.settings.run / "netns" / target.id)

    async def _files(self, record: ContainerRecord) -> tuple[Path, tuple[MountPoint, ...]]:
        image = self._parts.images.get(record.image_id)
        mount_root = partial(
            self._parts.roots.mount,
            record.id,
            self._parts.images.layer_paths(image),
            image_id=image.id,
            size_bytes=record.request.storage_size_bytes,
        )
        # a volume gets the image's files with the image's owners: its own mounts are mapped
        rootfs = await mount_root()
        rewrite(self._parts.settings, record)
        mounts = await self._mounts(record, rootfs)
        if record.ids:
            await self._parts.roots.unmount(record.id)
            await mount_root(ids=id_range(record))
        return rootfs, mounts

    async def _mounts(self, record: ContainerRecord, rootfs: Path) -> tuple[MountPoint, ...]:
        paths = await self._volumes.attach(record)
        mounts = []
        for n, mount in enumerate(record.mounts):
            source = await self._source(mount, paths, rootfs)
            if mount.subpath:
                part = await self._parts.part_mounts.open(record.id, n, Path(source), mount.subpath)
                source = str(part)
            mounts.append(
                MountPoint(
                    type="tmpfs" if mount.type == "tmpfs" else "bind",
                    source=source,
                    target=mount.target,
                    read_only=mount.read_only,
                    propagation=mount.propagation,
                    options=tuple(mount.options),
                )
            )
        return tuple(mounts)

    async def _source(self, mount: MountRecord, paths: dict[str, str], rootfs: Path) -> str:
        if mount.type == "tmpfs":
            return ""
        if mount.type == "bind":
            if not await trio.Path(mount.source).exists():
                raise Invalid(
                    "the bind source does not exist; make it first",
                    field="mounts.source",
                    value=mount.source,
                )
            return mount.source
        source = paths[mount.name]
        if not (mount.no_copy or mount.subpath):
            await self._parts.copy_up.copy_up(rootfs, mount.target, Path(source))
        return source

    def _etc(self, record: ContainerRecord) -> list[MountPoint]:
        directory = etc_directory(self._parts.settings, self._network_owner(record).id)
        covered = {mount.target for mount in record.mounts}
        return [
            MountPoint(type="bind", source=str(directory / name), target=f"/etc/{name}")
            for name in FILES
            if f"/etc/{name}" not in covered
        ]

    def _network_owner(self, record: ContainerRecord) -> ContainerRecord:
        """The container whose network, names and host name this one has; mostly itself."""
        while record.network_mode.startswith("container:"):
            record = self._parts.inventory.container(record.network_mode.partition(":")[2])
        return record

    # --- down ---------------------------------------------------------------------------------

    async def clean(self, record: ContainerRecord) -> None:
        """Take away processes, sandbox, mounts. Every step is tried; idempotent.

        Raises:
            ExceptionGroup: of what failed.
        """
        steps: list[Callable[[], Awaitable[None]]] = [
            lambda: self._parts.runtime.delete(record.id),
            lambda: self._sandboxes.close(record),
            lambda: self._parts.roots.unmount(record.id),
            lambda: self._parts.part_mounts.close(record.id),
            lambda: self._parts.shared_memory.close(record.id),
            lambda: self._parts.mapped_mounts.close(record.id),
            lambda: self._volumes.detach(record.id),
        ]
        failed: list[Exception] = []
        for step in steps:
            try:
                await step()
            except Exception as exc:  # noqa: BLE001  collected and raised below, all together
                failed.append(exc)
        if failed:
            raise ExceptionGroup(f"clean up container {record.id[:12]}", failed)


async def _together(*steps: Callable[[], Awaitable[None]]) -> None:
    """Run the steps at once; the first failure is raised by itself, not as a group."""
    failed: list[Exception] = []

    async def run(step: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        try:
            await step()
        except Exception as exc:  # noqa: BLE001  raised below, once the others stopped
            failed.append(exc)
            scope.cancel()

    async with trio.open_nursery() as nursery:
        for step in steps:
            nursery.start_soon(run, step, nursery.cancel_scope)
    if failed:
        raise failed[0]


def build_spec(
    record: ContainerRecord, rootfs: Path, netns: str, mounts: tuple[MountPoint, ...]
) -> ContainerSpec:
    """The runtime's half of a record. Pure."""
    asked = record.request
    return ContainerSpec(
        id=record.id,
        name=record.name,
        rootfs=rootfs,
        process=ProcessSpec(
            args=tuple(record.args),
            env=tuple(record.env),
            cwd=record.working_dir,
            user=record.user,
            groups=tuple(asked.groups),
            tty=asked.tty,
            stdin=asked.open_stdin,
        ),
        hostname=build_hostname(record),
        netns=netns,
        domainname=asked.domainname,
        uts_ns=namespace_of(asked.uts_mode),
        cgroup_ns=asked.cgroupns_mode,
        system_paths=asked.system_paths == "confined",
        mounts=mounts,
        limits=build_limits(asked),
        io_limits=tuple(
            IoLimit(kind=each.kind, device=each.device, value=each.value)
            for each in asked.io_limits
        ),
        cap_add=tuple(asked.cap_add),
        cap_drop=tuple(asked.cap_drop),
        privileged=asked.privileged,
        read_only=asked.read_only,
        no_new_privileges=asked.no_new_privileges,
        seccomp=asked.seccomp,
        apparmor=asked.apparmor,
        init=asked.init,
        shm_size_bytes=asked.shm_size_bytes,
        sysctls=asked.sysctls,
        ulimits=asked.ulimits,
        devices=tuple(asked.devices),
        device_rules=tuple(asked.device_cgroup_rules),
        keeps_log=record.log.driver != "none",
    )


def build_epochs(epochs: Mapping[str, int]) -> list[str]:
    """NODEAGENT_VOLUME_EPOCH_NAME each, and NODEAGENT_VOLUME_EPOCH if it is only one. Pure."""
    words = [f"NODEAGENT_VOLUME_EPOCH={each}" for each in epochs.values() if len(epochs) == 1]
    return words + [
        f"NODEAGENT_VOLUME_EPOCH_{re.sub('[^A-Z0-9]', '_', name.upper())}={epoch}"
        for name, epoch in epochs.items()
    ]


def id_range(record: ContainerRecord) -> IdRange | None:
    """The ids of its user namespace, for the runtime."""
    return IdRange(first=record.ids.first, count=record.ids.count) if record.ids else None


def build_limits(asked: ContainerCreate) -> Limits:
    """What a request limits, for the runtime."""
    return Limits(
        memory_bytes=asked.memory_bytes,
        memory_swap_bytes=asked.memory_swap_bytes,
        memory_reservation_bytes=asked.memory_reservation_bytes,
        nano_cpus=asked.nano_cpus,
        cpu_shares=asked.cpu_shares,
        cpuset_cpus=asked.cpuset_cpus,
        cpuset_mems=asked.cpuset_mems,
        cpu_period_us=asked.cpu_period_us,
        cpu_quota_us=asked.cpu_quota_us,
        memory_swappiness=asked.memory_swappiness,
        oom_kill_disable=asked.oom_kill_disable,
        blkio_weight=asked.blkio_weight,
        pids=asked.pids_limit,
        oom_score_adj=asked.oom_score_adj,
    )

"""Which use case answers which method. No decisions here: unpack, call, pack."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

import trio

from nodeagent.control.attachments import Attachments
from nodeagent.control.audit import Auditor
from nodeagent.control.containers import Containers
from nodeagent.control.explaining import Explaining
from nodeagent.control.health import image_check
from nodeagent.control.imaging import Imaging
from nodeagent.control.lifecycle import Lifecycle
from nodeagent.control.netinspect import NetworkInspector
from nodeagent.control.networks import Networks
from nodeagent.control.planning import Planner
from nodeagent.control.repair import Repairer
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.control.streams import Streams
from nodeagent.control.system import System
from nodeagent.control.volumes import Volumes
from nodeagent.errors import Invalid
from nodeagent.model.container import ContainerCreate
from nodeagent.model.drift import DriftResult, PlanResult
from nodeagent.model.explain import Explain
from nodeagent.model.image import PullItem
from nodeagent.model.network import (
    NetworkConnect,
    NetworkCreate,
    NetworkDisconnect,
    NetworkPrune,
    NetworkRemove,
)
from nodeagent.model.volume import VolumeCreate
from nodeagent.rpc import schema as s
from nodeagent.rpc.server import Call, Handler
from runtime.contract import ImageConfig, ProcessSpec, Progress

PROGRESS_QUEUE = 256  # progress a slow client may lag behind; then the newest is dropped
DONE = s.Done()
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """All use cases, built by the daemon."""

    attachments: Attachments
    auditor: Auditor
    containers: Containers
    explaining: Explaining
    lifecycle: Lifecycle
    imaging: Imaging
    inspector: NetworkInspector
    networks: Networks
    planner: Planner
    repairer: Repairer
    sandboxes: Sandboxes
    streams: Streams
    system: System
    volumes: Volumes


class _Caller:
    """A call as control.streams wants it."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def send_output(self, stream: str, data: bytes) -> None:
        await self._call.send({"stream": stream, "data": data})

    async def receive_input(self) -> bytes | None:
        return await self._call.receive_input()

    async def receive_resize(self) -> tuple[int, int]:
        return await self._call.receive_resize()


async def _with_progress(
    call: Call, work: Callable[[Callable[[Progress], None]], Awaitable[_T]]
) -> _T:
    """Run ``work`` and send its progress; a slow client loses progress, never speed."""
    sender, receiver = trio.open_memory_channel[PullItem](PROGRESS_QUEUE)

    def report(progress: Progress) -> None:
        item = PullItem(
            layer=progress.layer,
            status=progress.status,
            current_bytes=progress.current_bytes,
            total_bytes=progress.total_bytes,
        )
        try:
            sender.send_nowait(item)
        except trio.WouldBlock:
            return

    async def pump() -> None:
        async for item in receiver:
            await call.send(item)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump)
        with sender:
            result = await work(report)
    return result


async def _input(call: Call) -> AsyncGenerator[bytes, None]:
    while (data := await call.receive_input()) is not None:
        yield data


class Bindings:
    """Method name -> handler."""

    def __init__(self, use: UseCases) -> None:
        self._use = use

    def table(self) -> Mapping[str, Handler]:
        """One handler for each method but ``rpc.describe``, which the server answers itself."""
        found: dict[str, Handler] = {}
        for name in s.METHODS:
            attribute = name.replace(".", "_")
            if name != "rpc.describe":
                found[name] = getattr(self, attribute)
        return found

    # --- containers ---------------------------------------------------------------------------

    async def container_create(self, p: ContainerCreate, _call: Call) -> s.Id:
        record = await self._use.containers.create(p)
        return s.Id(id=record.id, name=record.name)

    async def container_start(self, p: s.Ref, _call: Call) -> s.Done:
        await self._use.lifecycle.start(p.name)
        return DONE

    async def container_stop(self, p: s.ContainerStop, _call: Call) -> s.Done:
        await self._use.lifecycle.stop(p.name, timeout_s=p.timeout_s, signal=p.signal)
        return DONE

    async def container_kill(self, p: s.ContainerKill, _call: Call) -> s.Done:
        await self._use.lifecycle.kill(p.name, p.signal)
        return DONE

    async def container_restart(self, p: s.ContainerStop, _call: Call) -> s.Done:
        await self._use.lifecycle.restart(p.name, timeout_s=p.timeout_s, signal=p.signal)
        return DONE

    async def container_pause(self, p: s.Ref, _call: Call) -> s.Done:
        await self._use.lifecycle.pause(p.name)
        return DONE

    async def container_unpause(self, p: s.Ref, _call: Call) -> s.Done:
        await self._use.lifecycle.unpause(p.name)
        return DONE

    async def container_rm(self, p: s.ContainerRemove, _call: Call) -> s.Done:
        await self._use.lifecycle.rm(p.name, force=p.force, volumes=p.volumes)
        return DONE

    async def container_rename(self, p: s.ContainerRename, _call: Call) -> s.Done:
        await self._use.containers.rename(p.name, p.new_name)
        return DONE

    async def container_prune(self, _p: s.Nothing, _call: Call) -> object:
        return await self._use.lifecycle.prune()

    async def container_wait(self, p: s.ContainerWait, _call: Call) -> s.WaitResult:
        code, error = await self._use.lifecycle.wait(p.name, p.condition)
        return s.WaitResult(exit_code=code, error=error)

    async def container_ls(self, p: s.ListParams, _call: Call) -> object:
        return self._use.containers.ls(everything=p.all, filters=p.filters)

    async def container_inspect(self, p: s.Refs, _call: Call) -> object:
        return self._use.containers.inspect(p.names)

    async def container_top(self, p: s.Ref, _call: Call) -> s.TopResult:
        titles, rows = await self._use.streams.top(p.name)
        return s.TopResult(titles=titles, processes=rows)

    async def container_logs(self, p: s.ContainerLogs, call: Call) -> s.Done:
        shown = {name for name in ("stdout", "stderr") if getattr(p, name)}
        lines = self._use.streams.logs(
            p.name, follow=p.follow, since=p.since, until=p.until, tail=p.tail
        )
        async with aclosing(lines) as stream:
            async for line in stream:
                if line.stream in shown:
                    await call.send(
                        s.LogItem(stream=line.stream, time_ns=line.time_ns, data=line.data)
                    )
        return DONE

    async def container_stats(self, p: s.ContainerStats, call: Call) -> s.Done:
        async with aclosing(self._use.streams.stats(p.names, stream=p.stream)) as views:
            async for view in views:
                await call.send(view)
        return DONE

    async def container_attach(self, p: s.ContainerAttach, call: Call) -> s.WaitResult:
        code, error = await self._use.streams.attach(
            p.name,
            _Caller(call),
            stdin=p.stdin,
            wait=self._use.lifecycle.wait,
        )
        return s.WaitResult(exit_code=code, error=error)

    async def container_exec(self, p: s.ContainerExec, call: Call) -> s.WaitResult:
        process = ProcessSpec(
            args=tuple(p.cmd),
            env=tuple(p.env),
            cwd=p.working_dir,
            user=p.user,
            tty=p.tty,
            stdin=p.stdin,
            rows=p.rows,
            columns=p.columns,
        )
        code = await self._use.streams.exec(
            p.name, process, _Caller(call), privileged=p.privileged, detach=p.detach
        )
        return s.WaitResult(exit_code=code)

    # --- images -------------------------------------------------------------------------------

    async def image_pull(self, p: s.ImagePull, call: Call) -> object:
        return await _with_progress(
            call, lambda report: self._use.imaging.pull(p.ref, p.platform, report)
        )

    async def image_import(self, p: s.ImageImport, call: Call) -> object:
        config = ImageConfig(
            entrypoint=tuple(p.entrypoint),
            cmd=tuple(p.cmd),
            env=tuple(p.env),
            working_dir=p.working_dir,
            user=p.user,
            exposed_ports=tuple(p.exposed_ports),
            volumes=tuple(p.volumes),
            labels=p.labels,
            healthcheck=image_check(p.health),
        )
        async with aclosing(_input(call)) as chunks:
            return await self._use.imaging.import_rootfs(
                chunks, ref=p.ref, config=config, message=p.message
            )

    async def image_load(self, _p: s.ImageLoad, call: Call) -> s.LoadResult:
        async with aclosing(_input(call)) as chunks:
            names = await _with_progress(
                call, lambda report: self._use.imaging.load(chunks, report)
            )
        return s.LoadResult(images=names)

    async def image_ls(self, p: s.ListParams, _call: Call) -> object:
        return self._use.imaging.ls(everything=p.all, filters=p.filters)

    async def image_inspect(self, p: s.Refs, _call: Call) -> object:
        return self._use.imaging.inspect(p.names)

    async def image_history(self, p: s.Ref, _call: Call) -> object:
        return self._use.imaging.history(p.name)

    async def image_tag(self, p: s.ImageTag, _call: Call) -> s.Done:
        await self._use.imaging.tag(p.source, p.target)
        return DONE

    async def image_rm(self, p: s.ImageRemove, _call: Call) -> object:
        return await self._use.imaging.rm(p.name, force=p.force)

    async def image_prune(self, p: s.ImagePrune, _call: Call) -> object:
        return await self._use.imaging.prune(everything=p.all)

    # --- networks -----------------------------------------------------------------------------

    async def network_create(self, p: NetworkCreate, _call: Call) -> s.Id:
        record = await self._use.networks.create(p)
        return s.Id(id=record.id, name=record.name)

    async def network_rm(self, p: NetworkRemove, _call: Call) -> s.Done:
        await self._use.networks.rm(p.name, force=p.force)
        return DONE

    async def network_connect(self, p: NetworkConnect, _call: Call) -> s.Done:
        await self._use.attachments.connect(p.network, p.container, p.endpoint)
        return DONE

    async def network_disconnect(self, p: NetworkDisconnect, _call: Call) -> s.Done:
        await self._use.attachments.disconnect(p.network, p.container, force=p.force)
        return DONE

    async def network_prune(self, p: NetworkPrune, _call: Call) -> object:
        return await self._use.networks.prune(p.filters)

    async def network_ls(self, p: s.ListParams, _call: Call) -> object:
        return self._use.networks.ls(p.filters)

    async def network_inspect(self, p: s.Refs, _call: Call) -> object:
        return await self._use.inspector.inspect(p.names)

    async def network_plan(self, p: s.NetworkPlan, _call: Call) -> PlanResult:
        planner = self._use.planner
        changes: list[Callable[[], Awaitable[list[str]]]] = []
        if (create := p.create) is not None:
            changes.append(lambda: planner.create(create))
        if (rm := p.rm) is not None:
            changes.append(lambda: planner.rm(rm.name))
        if (join := p.connect) is not None:
            changes.append(lambda: planner.connect(join.network, join.container, join.endpoint))
        if (leave := p.disconnect) is not None:
            changes.append(lambda: planner.disconnect(leave.network, leave.container))
        if (run := p.run) is not None:
            changes.append(lambda: planner.run(run))
        if len(changes) > 1:
            raise Invalid("one change at a time can be planned", field="params")
        if changes:
            return PlanResult(ops=await changes[0]())
        return PlanResult(ops=(await self._use.repairer.check()).lines)

    async def network_explain(self, p: Explain, _call: Call) -> object:
        return await self._use.explaining.explain(p)

    async def network_check(self, p: s.OnNetwork, _call: Call) -> DriftResult:
        drift = await self._use.repairer.check(p.network)
        return DriftResult(ops=drift.lines, conflicts=list(drift.conflicts))

    async def network_audit(self, _p: s.Nothing, _call: Call) -> object:
        return await self._use.auditor.audit()

    async def network_repair(self, p: s.OnNetwork, _call: Call) -> DriftResult:
        drift = await self._use.repairer.repair(p.network)
        return DriftResult(ops=drift.lines, conflicts=list(drift.conflicts))

    async def port_ls(self, p: s.ListParams, _call: Call) -> object:
        return self._use.sandboxes.ports.ls(p.filters)

    # --- volumes ------------------------------------------------------------------------------

    async def volume_create(self, p: VolumeCreate, _call: Call) -> object:
        return await self._use.volumes.create(p)

    async def volume_rm(self, p: s.VolumeRemove, _call: Call) -> s.Done:
        await self._use.volumes.rm(p.name, force=p.force)
        return DONE

    async def volume_prune(self, p: s.VolumePrune, _call: Call) -> object:
        return await self._use.volumes.prune(everything=p.all)

    async def volume_ls(self, p: s.ListParams, _call: Call) -> object:
        return self._use.volumes.ls(p.filters)

    async def volume_inspect(self, p: s.Refs, _call: Call) -> object:
        return await self._use.volumes.inspect(p.names)

    # --- system -------------------------------------------------------------------------------

    async def system_info(self, _p: s.Nothing, _call: Call) -> object:
        return self._use.system.info()

    async def system_version(self, _p: s.Nothing, _call: Call) -> object:
        return self._use.system.version()

    async def system_df(self, _p: s.Nothing, _call: Call) -> object:
        return await self._use.system.df()

    async def system_events(self, p: s.EventsParams, call: Call) -> s.Done:
        await self._use.system.events(call.send, since=p.since, until=p.until, filters=p.filters)
        return DONE

    async def system_ping(self, _p: s.Nothing, _call: Call) -> s.Done:
        return DONE

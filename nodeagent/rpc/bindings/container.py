"""Handlers of containers. No decisions here: unpack, call, pack."""

from contextlib import aclosing

from nodeagent.model.containerrequest import ContainerCreate
from nodeagent.rpc.bindings.usecases import UseCases
from nodeagent.rpc.schema.container import (
    ContainerAttach,
    ContainerExec,
    ContainerInspect,
    ContainerKill,
    ContainerList,
    ContainerLogs,
    ContainerPrune,
    ContainerRemove,
    ContainerRename,
    ContainerStats,
    ContainerStop,
    ContainerUpdate,
    ContainerWait,
    LogItem,
    TopResult,
    WaitResult,
)
from nodeagent.rpc.schema.shapes import Done, Id, Ref
from nodeagent.rpc.server import Call
from runtime.contract.container import ProcessSpec


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


class ContainerMethods:
    """Handlers of containers: unpack, call, pack."""

    def __init__(self, use: UseCases) -> None:
        self._use = use

    async def container_create(self, p: ContainerCreate, _call: Call) -> Id:
        record = await self._use.containers.create(p)
        return Id(id=record.id, name=record.name)

    async def container_start(self, p: Ref, _call: Call) -> Done:
        await self._use.lifecycle.start(p.name)
        return Done()

    async def container_stop(self, p: ContainerStop, _call: Call) -> Done:
        await self._use.lifecycle.stop(p.name, timeout_s=p.timeout_s, signal=p.signal)
        return Done()

    async def container_kill(self, p: ContainerKill, _call: Call) -> Done:
        await self._use.lifecycle.kill(p.name, p.signal)
        return Done()

    async def container_restart(self, p: ContainerStop, _call: Call) -> Done:
        await self._use.lifecycle.restart(p.name, timeout_s=p.timeout_s, signal=p.signal)
        return Done()

    async def container_pause(self, p: Ref, _call: Call) -> Done:
        await self._use.lifecycle.pause(p.name)
        return Done()

    async def container_unpause(self, p: Ref, _call: Call) -> Done:
        await self._use.lifecycle.unpause(p.name)
        return Done()

    async def container_rm(self, p: ContainerRemove, _call: Call) -> Done:
        await self._use.lifecycle.rm(p.name, force=p.force, volumes=p.volumes)
        return Done()

    async def container_rename(self, p: ContainerRename, _call: Call) -> Done:
        await self._use.containers.rename(p.name, p.new_name)
        return Done()

    async def container_update(self, p: ContainerUpdate, _call: Call) -> Done:
        await self._use.updater.update(p.name, p.limits, p.restart_policy)
        return Done()

    async def container_prune(self, p: ContainerPrune, _call: Call) -> object:
        return await self._use.pruner.prune(p.filters)

    async def container_wait(self, p: ContainerWait, _call: Call) -> WaitResult:
        code, error = await self._use.lifecycle.wait(p.name, p.condition)
        return WaitResult(exit_code=code, error=error)

    async def container_ls(self, p: ContainerList, _call: Call) -> object:
        rows = self._use.containers.ls(everything=p.all, filters=p.filters)
        return await self._use.sizes.fill(rows) if p.size else rows

    async def container_inspect(self, p: ContainerInspect, _call: Call) -> object:
        views = self._use.containers.inspect(p.names)
        return await self._use.sizes.fill(views) if p.size else views

    async def container_top(self, p: Ref, _call: Call) -> TopResult:
        titles, rows = await self._use.streams.top(p.name)
        return TopResult(titles=titles, processes=rows)

    async def container_logs(self, p: ContainerLogs, call: Call) -> Done:
        shown = {name for name in ("stdout", "stderr") if getattr(p, name)}
        lines = self._use.streams.logs(
            p.name, follow=p.follow, since=p.since, until=p.until, tail=p.tail, after=p.after
        )
        attributes = self._use.streams.log_attributes(p.name) if p.details else {}
        async with aclosing(lines) as stream:
            async for line in stream:
                if line.stream in shown or line.lost:
                    item = LogItem(
                        stream=line.stream,
                        time_ns=line.time_ns,
                        data=line.data,
                        cursor=str(line.cursor or ""),
                        lost=line.lost,
                        attributes=attributes,
                    )
                    await call.send(item)
        return Done()

    async def container_stats(self, p: ContainerStats, call: Call) -> Done:
        async with aclosing(self._use.streams.stats(p.names, stream=p.stream)) as views:
            async for view in views:
                await call.send(view)
        return Done()

    async def container_attach(self, p: ContainerAttach, call: Call) -> WaitResult:
        code, error = await self._use.streams.attach(
            p.name,
            _Caller(call),
            stdin=p.stdin,
            wait=self._use.lifecycle.wait,
        )
        return WaitResult(exit_code=code, error=error)

    async def container_exec(self, p: ContainerExec, call: Call) -> WaitResult:
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
        return WaitResult(exit_code=code)

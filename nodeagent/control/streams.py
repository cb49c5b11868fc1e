"""What flows: logs, attach, exec, statistics, processes."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Protocol

import trio

from nodeagent.control.backlog import Backlog
from nodeagent.control.containers import Containers
from nodeagent.control.hostinfo import cpu_count, read_memory_bytes
from nodeagent.control.logoptions import build_attributes, parse_cursor
from nodeagent.control.parts import Parts
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.control.times import build_time, parse_since
from nodeagent.errors import Conflict, Invalid, kind_of
from nodeagent.model.container import ContainerRecord
from nodeagent.model.containerview import StatsView
from runtime.contract.container import ExecSession, ProcessSpec, Session, Usage
from runtime.contract.logs import LogLine, Query

PERIOD_S = 1.0  # between two readings of a statistics stream
JOIN_S = 5.0  # an attached client that does not come to the gate is not waited for; a guess
DRAIN_S = 5.0  # for output still under way after the end; a guess


class Caller(Protocol):
    """The other end of a call that streams both ways."""

    async def send_output(self, stream: str, data: bytes) -> None: ...

    async def receive_input(self) -> bytes | None:
        """Bytes for stdin; None when it is closed."""
        ...

    async def receive_resize(self) -> tuple[int, int]:
        """(rows, columns) of a terminal that changed its size."""
        ...


class _Waiting:
    """Somebody who attached before the start, so that no byte of output is lost."""

    def __init__(self) -> None:
        self.made = trio.Event()
        self.joined = trio.Event()


class Streams:
    """Use cases that stream."""

    def __init__(self, parts: Parts, sandboxes: Sandboxes, containers: Containers) -> None:
        self._parts = parts
        self._sandboxes = sandboxes
        self._containers = containers
        self._waiting: dict[str, set[_Waiting]] = {}

    # --- logs ---------------------------------------------------------------------------------

    def logs(
        self, name: str, *, follow: bool, since: str, until: str, tail: int, after: str = ""
    ) -> AsyncGenerator[LogLine, None]:
        """Log records of a container, oldest first (Conflict: it keeps none)."""
        record = self._parts.inventory.container(name)
        if record.log.driver == "none":
            raise Conflict(
                "the container keeps no log: it was made with the log driver none",
                field="name",
                name=record.name,
            )
        now = self._parts.now()
        query = Query(
            follow=follow and record.phase in {"starting", "running"},
            since_ns=int(parse_since(since, now=now, field="since") * 1e9),
            until_ns=int(parse_since(until, now=now, field="until") * 1e9),
            tail=tail,
            after=parse_cursor(after) if after else None,
        )
        return self._parts.runtime.logbook.read(record.id, query)

    def log_attributes(self, name: str) -> dict[str, str]:
        """What ``--details`` shows with each line."""
        return build_attributes(self._parts.inventory.container(name))

    # --- attach and exec ------------------------------------------------------------------------

    async def attach(
        self,
        name: str,
        caller: Caller,
        *,
        stdin: bool,
        wait: Callable[[str, str], Awaitable[tuple[int, str]]],
    ) -> tuple[int, str]:
        """Join a container's terminal or pipes; waits for its start if it is down.

        Args:
            wait: for the end of a container, by id and condition.

        Returns:
            Exit code and error, once the container ended.

        Raises:
            Conflict: it was removed, and will never start.
        """
        record = self._parts.inventory.container(name)
        if record.phase not in {"running", "created", "exited", "starting"}:
            raise Conflict("the container is being removed", field="name", name=name)
        waiting = _Waiting() if record.phase != "running" else None
        if waiting is not None:
            self._waiting.setdefault(record.id, set()).add(waiting)
        try:
            await caller.send_output("stdout", b"")
            if waiting is not None:
                await _first(waiting.made.wait, lambda: wait(record.id, "removed"))
                if not waiting.made.is_set():
                    raise Conflict("the container was removed before it ran", name=record.name)
            async with self._parts.runtime.attach(record.id) as session:
                if waiting is not None:
                    waiting.joined.set()
                return await self._relay(
                    session, caller, stdin=stdin, end=lambda: wait(record.id, "not-running")
                )
        finally:
            if waiting is not None:
                waiting.joined.set()
                self._leave(record.id, waiting)

    def _leave(self, id_: str, waiting: _Waiting) -> None:
        others = self._waiting.get(id_, set())
        others.discard(waiting)
        if not others:
            self._waiting.pop(id_, None)

    async def at_gate(self, id_: str) -> None:
        """A container is made and waits to be executed: let those join who asked before."""
        waiting = self._waiting.pop(id_, set())
        with trio.move_on_after(JOIN_S):
            for each in waiting:
                each.made.set()
                await each.joined.wait()

    async def exec(
        self, name: str, process: ProcessSpec, caller: Caller, *, privileged: bool, detach: bool
    ) -> int:
        """Run a further command in a running container; its exit code (0 when detached)."""
        record = self._running(name)
        if not process.args:
            raise Invalid("no command", field="cmd")
        merged = ProcessSpec(
            args=process.args,
            env=(*record.env, *process.env),
            cwd=process.cwd or record.working_dir,
            user=process.user or record.user,
            groups=process.groups,
            tty=process.tty,
            stdin=process.stdin,
            rows=process.rows,
            columns=process.columns,
        )
        runtime = self._parts.runtime
        async with runtime.exec(record.id, merged, privileged=privileged) as session:
            self._parts.events.tell(record, "exec_start", command=" ".join(process.args))
            if detach:
                return 0
            await caller.send_output("stdout", b"")
            code, _ = await self._relay(
                session, caller, stdin=process.stdin, end=lambda: _exec_end(session)
            )
            return code

    def _running(self, name: str) -> ContainerRecord:
        record = self._parts.inventory.container(name)
        if record.phase != "running":
            raise Conflict("the container does not run", field="name", name=record.name)
        return record

    async def _relay(
        self,
        session: Session,
        caller: Caller,
        *,
        stdin: bool,
        end: Callable[[], Awaitable[tuple[int, str]]],
    ) -> tuple[int, str]:
        """Bytes both ways until the process ended and its output is delivered.

        A client that reads slowly holds up nobody but itself.
        """
        heard, delivered = trio.Event(), trio.Event()

        async def listen() -> None:
            while (piece := await session.receive()) is not None:
                await backlog.put(*piece)
            heard.set()

        async def deliver() -> None:
            while (piece := await backlog.get()) is not None:
                await caller.send_output(*piece)
            delivered.set()

        with Backlog(self._parts.settings.root) as backlog:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen)
                nursery.start_soon(deliver)
                nursery.start_soon(_resize, session, caller)
                if stdin:
                    nursery.start_soon(_input, session, caller)
                result = await end()
                with trio.move_on_after(DRAIN_S):  # what it left behind may hold its output open
                    await heard.wait()
                backlog.close()
                await delivered.wait()
                nursery.cancel_scope.cancel()
        return result

    # --- statistics -----------------------------------------------------------------------------

    async def stats(self, names: list[str], *, stream: bool) -> AsyncGenerator[StatsView, None]:
        """Readings of containers (all running ones if none is named), every second if asked."""
        before: dict[str, tuple[float, int]] = {}
        for record in self._chosen(names):
            self._note(record, before)
        while True:
            await trio.sleep(PERIOD_S)  # CPU use is a difference over a time
            for record in self._chosen(names):
                view = self._read(record, before)
                if view is not None:
                    yield view
            if not stream:
                return

    def _chosen(self, names: list[str]) -> list[ContainerRecord]:
        if names:
            return [self._parts.inventory.container(name) for name in names]
        known = self._parts.inventory.containers.values()
        return [record for record in known if record.phase == "running"]

    def _note(self, record: ContainerRecord, before: dict[str, tuple[float, int]]) -> None:
        usage = self.usage(record)
        if usage is not None:
            before[record.id] = (trio.current_time(), usage.cpu_ns)

    def usage(self, record: ContainerRecord) -> Usage | None:
        """The cgroup's figures; None for a container that is not up (any more)."""
        try:
            return self._parts.runtime.usage(record.id)
        except Exception as exc:
            if kind_of(exc) != "missing":
                raise
            return None

    def network_bytes(self, record: ContainerRecord) -> tuple[int, int]:
        """(received, sent) over all interfaces but the loopback."""
        if not self._sandboxes.is_live(record.id) or not record.endpoints:
            return 0, 0
        counters = self._parts.engine.counters(record.id)
        shown = [each for name, each in counters.items() if name != "lo"]
        return sum(c.get("rx_bytes", 0) for c in shown), sum(c.get("tx_bytes", 0) for c in shown)

    def _read(
        self, record: ContainerRecord, before: dict[str, tuple[float, int]]
    ) -> StatsView | None:
        usage = self.usage(record) if record.phase == "running" else None
        if usage is None:
            return None
        then, cpu_then = before.get(record.id, (trio.current_time(), usage.cpu_ns))
        self._note(record, before)
        elapsed_ns = max((trio.current_time() - then) * 1e9, 1.0)
        limit = usage.memory_limit_bytes
        limit = limit if 0 < limit < (1 << 60) else read_memory_bytes()
        working = max(usage.memory_bytes - max(usage.memory_cache_bytes, 0), 0)
        received, sent = self.network_bytes(record)
        return StatsView(
            id=record.id,
            name=record.name,
            read=build_time(self._parts.now()),
            cpu_percent=round(min((usage.cpu_ns - cpu_then) / elapsed_ns, cpu_count()) * 100, 2),
            cpu_ns=usage.cpu_ns,
            memory_bytes=working,
            memory_limit_bytes=limit,
            memory_percent=round(working / limit * 100, 2) if limit else 0.0,
            pids=usage.pids,
            network_rx_bytes=received,
            network_tx_bytes=sent,
            block_read_bytes=usage.blkio_read_bytes,
            block_write_bytes=usage.blkio_write_bytes,
        )

    # --- processes ------------------------------------------------------------------------------

    async def top(self, name: str) -> tuple[list[str], list[list[str]]]:
        """(titles, rows) of the processes in a container, as the host sees them."""
        record = self._running(name)
        rows = []
        for pid in await self._parts.runtime.top(record.id):
            row = read_process(pid)
            if row is not None:
                rows.append(row)
        return ["UID", "PID", "PPID", "CMD"], rows


def read_process(pid: int, proc: Path = Path("/proc")) -> list[str] | None:
    """[uid, pid, ppid, command] of a process; None if it has ended."""
    try:
        text = (proc / str(pid) / "status").read_text(encoding="utf-8")
        command = (proc / str(pid) / "cmdline").read_bytes()
    except OSError:
        return None
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    words = command.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    return [fields["Uid"].split()[0], str(pid), fields["PPid"], words or f"[{fields['Name']}]"]


async def _first(*waits: Callable[[], Awaitable[object]]) -> None:
    """Return when one of them has."""
    async with trio.open_nursery() as nursery:

        async def run(wait: Callable[[], Awaitable[object]]) -> None:
            await wait()
            nursery.cancel_scope.cancel()

        for wait in waits:
            nursery.start_soon(run, wait)


async def _input(session: Session, caller: Caller) -> None:
    try:
        while (data := await caller.receive_input()) is not None:
            await session.send(data)
        await session.send_eof()
    except (trio.BrokenResourceError, BrokenPipeError):
        return  # the process has closed its stdin: what it does not read is lost, as in a pipe


async def _resize(session: Session, caller: Caller) -> None:
    while True:
        rows, columns = await caller.receive_resize()
        await session.resize(rows, columns)


async def _exec_end(session: ExecSession) -> tuple[int, str]:
    return await session.wait(), ""

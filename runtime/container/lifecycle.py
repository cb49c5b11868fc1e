"""Containers on this host: conmon watches, crun or runc makes, the kernel remembers.

Only ``create`` and ``exec`` start programs. ``start`` opens the gate the runtime's init waits at
(its exec fifo), ``kill`` uses a pidfd, ``delete`` empties and removes the cgroup and the files:
this is 3 to 100 ms faster than asking the runtime, and works on what is half-made.
"""

import contextlib
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, TypeVar

import trio

from runtime.container import (
    attach,
    bundle,
    ending,
    execs,
    limiting,
    oci,
    probe,
    supervisor,
    transient,
)
from runtime.container.cgroups import CONMONS, Cgroup, Layout, children, set_conmon_apart
from runtime.container.conmon import Command
from runtime.container.filters import Filters
from runtime.container.gate import Gate
from runtime.container.host import read_host, read_layout
from runtime.container.logbook import ContainerLogbook
from runtime.container.oci import Oci
from runtime.container.spawn import spawn
from runtime.container.spec import Host
from runtime.container.supervisor import Record
from runtime.contract.container import (
    ContainerSpec,
    ExecSession,
    Exit,
    Found,
    Limits,
    Process,
    ProcessSpec,
    Session,
    Usage,
)
from runtime.errors import Conflict, Invalid, Missing, Refused, Unavailable

UNDO_S: Final = 10.0  # guess: killing and removing takes some ms
CONMON_END_S: Final = 2.0  # conmon ends within ms of its container; then it is killed
KILL: Final = int(signal.SIGKILL)
DISK_THREADS: Final = 4
T = TypeVar("T")


class ContainerRuntime:
    """`Containers` by conmon and crun or runc; see the contract for what each call promises."""

    def __init__(
        self,
        root: Path,
        run: Path,
        *,
        cgroup_parent: str,
        runtime: str = "auto",
    ) -> None:
        if runtime not in {"auto", "crun", "runc"}:
            raise Invalid("choose runtime", runtime=runtime, expected="auto, crun or runc")
        if ":" in str(root.absolute()):
            raise Invalid("choose root", root=root, reason="conmon's log path may have no colon")
        self._places = bundle.Places(root=root.absolute(), run=run.absolute())
        self._cgroup_parent = cgroup_parent.strip("/")
        self._wanted = runtime
        self._disk = trio.CapacityLimiter(DISK_THREADS)
        self.logbook = ContainerLogbook(self._places, self.wait_exit)
        self._oci: Oci | None = None
        self._why_not = Unavailable("use the OCI runtime", reason="not opened yet")
        self._conmon = ""
        self._filters = Filters()
        self._layout = Layout(v1={}, unified=None)
        self._host = Host(machine="", capabilities=frozenset())

    async def open(self) -> None:
        """Probe the runtimes and pick the first that can create a container here."""
        self._places.make()
        for path in self._places.temporary.iterdir():
            bundle.remove_tree(path) if path.is_dir() else path.unlink()
        self._layout = read_layout()
        self._host = read_host(self._layout)
        try:
            await self._choose()
        except Unavailable as exc:
            self._why_not = exc  # the rest works without: what runs is known, waited for, deleted

    async def _choose(self) -> Oci:
        self._conmon = oci.find_binary("conmon", package="conmon")
        site = probe.Site(
            places=self._places,
            layout=self._layout,
            host=self._host,
            cgroup_parent=self._cgroup_parent,
            filters=self._filters,
        )
        self._oci = await probe.choose(self._wanted, site)
        return self._oci

    def close(self) -> None:
        """Remove the cgroups that held containers and conmons, if empty: for a clean stop."""
        for root in self._layout.roots():
            for path in (f"{self._cgroup_parent}/{CONMONS}", self._cgroup_parent):
                with contextlib.suppress(OSError):
                    (root / path).rmdir()

    def runtime_name(self) -> str:
        """``crun 1.8.1``; Unavailable if none works, naming what was tried."""
        if self._oci is None:
            raise self._why_not
        return self._oci.name

    def cgroup(self, container_id: str) -> Cgroup:
        """Where a container's cgroup is, there or not."""
        path = f"/{self._cgroup_parent}/{bundle.check_id(container_id)}"
        return Cgroup(layout=self._layout, path=path)

    # --- making ---------------------------------------------------------------------------

    async def create(self, spec: ContainerSpec) -> Process:
        """Make the container: namespaces, cgroup, mounts; the program is not executed yet.

        Cancel: everything is undone.
        """
        runtime = self._oci or await self._choose()  # one may have been installed meanwhile
        if spec.ids and runtime.kind == "runc":
            raise Refused(
                "use a user namespace: runc runs no further process in it (exec, health checks)",
                runtime=runtime.name,
                fix="apt install crun, or leave out userns auto",
            )
        cgroup = self.cgroup(spec.id)
        config = await self._on_disk(lambda: bundle.prepare(spec, self._host, cgroup))
        self._filters.add(config)
        await self._on_disk(lambda: bundle.write(self._places, spec.id, config))
        try:
            record = await spawn(self._conmon, runtime, self._places, spec)
            set_conmon_apart(self._layout, self._cgroup_parent, record.conmon_pid)
            supervisor.write_record(self._places.live(spec.id), record)  # from here on it is whole
        except BaseException:
            with trio.move_on_after(UNDO_S, shield=True):
                await self.delete(spec.id)
            raise
        self._filters.learn(config, self._places.state / spec.id)
        return record.process()

    async def start(self, container_id: str) -> None:
        """Execute the program. Missing with field ``exit_code`` 127/126 if it cannot be run."""
        record = self._record(container_id)
        gate = self._gate(container_id, record)
        if not gate.is_shut():
            raise Missing("start container", id=container_id, reason="it is not waiting to start")
        await gate.open()

    def _gate(self, container_id: str, record: Record) -> Gate:
        fifo = self._places.state / container_id / "exec.fifo"
        return Gate(fifo=fifo, runtime=record.runtime, pid=record.pid, ticks=record.ticks)

    # --- living ---------------------------------------------------------------------------

    async def kill(self, container_id: str, signal: int) -> None:
        """Send a signal to the first process; Missing if it has ended."""
        await trio.lowlevel.checkpoint()
        record = self._record(container_id)
        if not supervisor.send_signal(record.pid, record.ticks, signal):
            raise Missing("signal container", id=container_id, reason="it has ended")
        cgroup = self.cgroup(container_id)
        if signal == KILL and cgroup.is_frozen():
            cgroup.set_frozen(frozen=False)  # v1 delivers it only then

    async def pause(self, container_id: str) -> None:
        """Freeze the container's cgroup."""
        self._record(container_id)
        await ending.freeze(self.cgroup(container_id), frozen=True)

    async def unpause(self, container_id: str) -> None:
        """Thaw it."""
        self._record(container_id)
        await ending.freeze(self.cgroup(container_id), frozen=False)

    async def update(self, container_id: str, limits: Limits) -> None:
        """Change those limits of a live container that are given."""
        runtime = self._oci or await self._choose()
        await limiting.update(runtime, self._record(container_id), container_id, limits, self._host)

    async def top(self, container_id: str) -> list[int]:
        """Host pids of all processes in the container."""
        await trio.lowlevel.checkpoint()
        self._record(container_id)
        return self.cgroup(container_id).read_pids()

    def usage(self, container_id: str) -> Usage:
        """Read the cgroup now (a few small files)."""
        return self.cgroup(container_id).read_usage()

    def attach(self, container_id: str) -> AbstractAsyncContextManager[Session]:
        """Join the container's terminal or pipes."""
        self._record(container_id)
        return attach.open_session(self._places.bundle(container_id))

    @contextlib.asynccontextmanager
    async def exec(
        self, container_id: str, process: ProcessSpec, *, privileged: bool
    ) -> AsyncIterator[ExecSession]:
        """Run a further process in the container. Missing/Refused carry ``exit_code`` 127/126."""
        runtime, directory = await self._prepare_exec("exec", container_id, process, privileged)
        command = Command(
            conmon=self._conmon,
            runtime=runtime.argv,
            container_id=container_id,
            bundle=directory,
            live=directory,
            temporary=self._places.temporary,
            tty=process.tty,
            stdin=process.stdin,
            keep_stdin=process.tty or not process.stdin_once,
            exec_process=directory / execs.PROCESS,
        )
        async with execs.open_exec(command, directory) as session:
            conmon = supervisor.read_pid(command.conmon_pid_file)
            set_conmon_apart(self._layout, self._cgroup_parent, conmon)
            yield session

    async def probe(
        self, container_id: str, process: ProcessSpec, sink: Callable[[bytes], None]
    ) -> int:
        """Run a short process to its end: its exit code. Cancel: it is killed."""
        runtime, directory = await self._prepare_exec("probe", container_id, process, False)
        return await transient.run(runtime, directory, self.cgroup(container_id), sink)

    async def _prepare_exec(
        self, place: str, container_id: str, process: ProcessSpec, privileged: bool
    ) -> tuple[Oci, Path]:
        """The runtime that can run a process there, and the directory that describes it."""
        record = self._record(container_id)
        if not supervisor.is_alive(record.pid, record.ticks):
            raise Missing("run in the container", id=container_id, reason="it has ended")
        if self.cgroup(container_id).is_frozen():  # the new process would freeze and never answer
            raise Conflict("run in the container", id=container_id, reason="it is paused")
        runtime = self._oci or await self._choose()
        directory = self._places.run / place / f"{container_id[:12]}-{secrets.token_hex(4)}"
        host = self._host if privileged else None
        await self._on_disk(
            lambda: execs.write_directory(self._places, container_id, directory, process, host)
        )
        return runtime, directory

    # --- ending ---------------------------------------------------------------------------

    async def wait_exit(self, container_id: str) -> Exit:
        """Return when it has ended and its exit is recorded. Any number of waiters."""
        record = self._record(container_id)
        if (known := self._read_exit(container_id)) is not None:
            await trio.lowlevel.checkpoint()
            return known
        await supervisor.wait_gone(record.conmon_pid, record.conmon_ticks)
        if (known := self._read_exit(container_id)) is not None:
            return known
        return await self._abandon(container_id)

    def _read_exit(self, container_id: str) -> Exit | None:
        found = supervisor.read_exit(self._places.live(container_id))
        if found is None or found.oom_killed:
            return found
        oom_killed = self.cgroup(container_id).read_oom_kills() > 0
        return Exit(code=found.code, finished_at=found.finished_at, oom_killed=oom_killed)

    async def _abandon(self, container_id: str) -> Exit:
        """End a container whose conmon was killed: its output goes nowhere, its code is unknown."""
        live = self._places.live(container_id)
        await self._kill_all(container_id)
        if not live.is_dir():
            raise Missing("wait for container", id=container_id, reason="it was deleted")
        if supervisor.read_exit(live) is None:
            supervisor.write_exit(live, supervisor.CODE_UNKNOWN)
        if (known := self._read_exit(container_id)) is None:
            raise Missing("wait for container", id=container_id, reason="it was deleted")
        return known

    async def _kill_all(self, container_id: str) -> None:
        cgroup = self.cgroup(container_id)
        record = supervisor.read_record(self._places.live(container_id))
        if record is not None:
            supervisor.send_signal(record.pid, record.ticks, signal.SIGKILL)
        await ending.kill_all(cgroup)
        if record is not None:
            await supervisor.wait_gone(record.pid, record.ticks)

    async def delete(self, container_id: str) -> None:
        """Kill what is left, remove cgroup, bundle and runtime state; logs stay. Idempotent."""
        bundle.check_id(container_id)
        await self._end_execs(container_id)
        record = supervisor.read_record(self._places.live(container_id))
        if record is None:  # half-made: conmon may be about to make more of it
            await execs.kill_conmons(self._places.bundle(container_id))
        await self._kill_all(container_id)
        if record is not None:
            await supervisor.end(record.conmon_pid, record.conmon_ticks, within_s=CONMON_END_S)
        await ending.clear(self.cgroup(container_id))
        await self._on_disk(lambda: bundle.remove(self._places, container_id))

    async def _end_execs(self, container_id: str) -> None:
        for path in self._places.execs(container_id):
            await execs.kill_conmons(path)
        await transient.end_strays(self._places, container_id, self.cgroup(container_id))

    # --- knowing --------------------------------------------------------------------------

    async def scan(self) -> list[Found]:
        """All containers under this root and run directory; starts watching the live ones."""
        cgroups = children(self._layout, f"/{self._cgroup_parent}")
        ids = set(filter(bundle.is_id, cgroups)) | await self._on_disk(self._places.ids)
        for container_id in ids:
            execs.sweep(self._places, container_id)
            await transient.end_strays(self._places, container_id, self.cgroup(container_id))
        return [await self._find(container_id) for container_id in sorted(ids)]

    async def _find(self, container_id: str) -> Found:
        record = supervisor.read_record(self._places.live(container_id))
        if record is None or not self._places.bundle(container_id).is_dir():
            return Found(id=container_id, state="leftover")
        if (known := self._read_exit(container_id)) is not None:
            return Found(id=container_id, state="exited", exit=known)
        if not supervisor.is_alive(record.conmon_pid, record.conmon_ticks):
            exit_ = await self._abandon(container_id)
            return Found(id=container_id, state="exited", exit=exit_)
        gate = self._gate(container_id, record)
        gate.settle()
        if gate.is_shut():
            return Found(id=container_id, state="created", process=record.process())
        frozen = self.cgroup(container_id).is_frozen()
        return Found(
            id=container_id, state="paused" if frozen else "running", process=record.process()
        )

    def _record(self, container_id: str) -> Record:
        record = supervisor.read_record(self._places.live(bundle.check_id(container_id)))
        if record is None:
            raise Missing("find container", id=container_id)
        return record

    async def _on_disk(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._disk)

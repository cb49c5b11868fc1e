"""Further processes in a running container: conmon --exec, its three pipes, and its end.

The process and its conmon outlive a client that goes away; their small directory is swept by the
next exec, the next scan, or the container's deletion.

Source: conmon 2.1 conmon.c (start, attach and sync pipes).
"""

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import msgspec
import trio

from runtime.container import attach, bundle, oci, supervisor
from runtime.container.attach import AttachSession
from runtime.container.conmon import Command, SyncPipe, Word
from runtime.container.spec import Host, build_exec
from runtime.contract.container import ProcessSpec
from runtime.errors import Missing, Refused, Unavailable

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
NOT_EXECUTABLE_WORDS: Final = (
    "permission denied", "operation not permitted", "is a directory", "exec format",
)  # fmt: skip
PROCESS: Final = "process.json"
CLEAN_S: Final = 5.0  # guess: a SIGKILLed process ends far sooner


def classify(message: str) -> Missing | Refused | None:
    """Docker's exit codes for a command that cannot be run; None if that was not the trouble.

    crun: ``executable file `x` not found in $PATH``, ``open executable: Permission denied``
    (for a directory ``Operation not permitted``).
    runc: ``exec: "x": executable file not found in $PATH``, ``exec: "/x": permission denied``.
    """
    text = message.lower()
    if "executable" not in text and "exec:" not in text and "exec user process" not in text:
        return None
    if any(word in text for word in NOT_EXECUTABLE_WORDS):
        return Refused("the command cannot be executed", exit_code=NOT_EXECUTABLE, says=message)
    if "not found" in text or "no such file" in text:
        return Missing("the command was not found", exit_code=NOT_FOUND, says=message)
    return None


class Exec:
    """An exec in progress, with an attached client."""

    def __init__(self, session: AttachSession, sync: SyncPipe, pid: int) -> None:
        self._session = session
        self._sync = sync
        self._pid = pid
        self._code: int | None = None
        self._lock = trio.Lock()
        self.receive = session.receive
        self.send = session.send
        self.send_eof = session.send_eof
        self.resize = session.resize

    @property
    def pid(self) -> int:
        return self._pid

    async def wait(self) -> int:
        """Its exit code, once it ended; 255 if its conmon was killed."""
        async with self._lock:
            if self._code is None:
                self._code = await self._read_code()
        return self._code

    async def _read_code(self) -> int:
        try:
            word = await self._sync.read()
        except Unavailable:
            return supervisor.CODE_UNKNOWN
        return word.data if word.data >= 0 else supervisor.CODE_UNKNOWN


class Pipe:
    """A pipe of which one end goes to a child."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC)

    def take_read(self) -> SyncPipe:
        """The reading end for us; closes the writing end, which the child has by now."""
        self._close_write()
        fd, self.read_fd = self.read_fd, -1
        return SyncPipe(trio.lowlevel.FdStream(fd))

    def _close_write(self) -> None:
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def close(self) -> None:
        self._close_write()
        if self.read_fd >= 0:
            os.close(self.read_fd)
            self.read_fd = -1


@contextlib.contextmanager
def open_pipes(count: int) -> Iterator[list[Pipe]]:
    """Some pipes, whose ends that nobody took are closed at last."""
    pipes = [Pipe() for _ in range(count)]
    try:
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()


async def run_conmon(command: Command) -> Word:
    """Have conmon make a container and hear what came of it."""
    with open_pipes(1) as (pipe,):
        env = {**command.env(), "_OCI_SYNCPIPE": str(pipe.write_fd)}
        # conmon drops a file "oom" where it stands
        done = await oci.run(command.argv(), pass_fds=(pipe.write_fd,), env=env, cwd=command.bundle)
        if done.code:
            raise Unavailable("start conmon", id=command.container_id, says=done.tail)
        sync = pipe.take_read()
        try:
            return await sync.read()
        finally:
            with trio.CancelScope(shield=True):  # closes a descriptor, waits for nothing
                await sync.aclose()


def write_directory(
    places: bundle.Places, container_id: str, path: Path, process: ProcessSpec, host: Host | None
) -> None:
    """Make the directory of one exec, with the process in it; ``host`` for a privileged one."""
    sweep(places, container_id)
    config = bundle.read_config(places, container_id)
    identity = bundle.read_identity(bundle.read_rootfs(config), process)
    described = build_exec(config, process, identity, host)
    path.mkdir(mode=0o700)
    (path / PROCESS).write_bytes(msgspec.json.encode(described))


def sweep(places: bundle.Places, container_id: str) -> None:
    """Remove what ended execs left."""
    for path in places.execs(container_id):
        pid = supervisor.read_pid(path / "conmon.pid")
        if (path / supervisor.EXIT_FILE).exists() or (pid and not supervisor.read_ticks(pid)):
            bundle.remove_tree(path)


@contextlib.asynccontextmanager
async def open_exec(command: Command, directory: Path) -> AsyncIterator[Exec]:
    """Run ``command`` (with its process file in ``directory``) and attach before it begins.

    Raises:
        Missing, Refused: the program cannot be run; field ``exit_code``.
    """
    async with contextlib.AsyncExitStack() as stack:
        try:
            session, sync, pid = await _begin(stack, command, directory)
        except BaseException:
            with trio.move_on_after(CLEAN_S, shield=True):
                await kill_conmons(directory)
            bundle.remove_tree(directory)
            raise
        try:
            yield Exec(session, sync, pid)
        finally:
            if (directory / supervisor.EXIT_FILE).exists():
                bundle.remove_tree(directory)


async def _begin(
    stack: contextlib.AsyncExitStack, command: Command, directory: Path
) -> tuple[AttachSession, SyncPipe, int]:
    with open_pipes(3) as (sync_pipe, attach_pipe, start_pipe):
        os.write(start_pipe.write_fd, b"0")  # conmon waits for a word before it forks
        env = {
            **command.env(),
            "_OCI_SYNCPIPE": str(sync_pipe.write_fd),
            "_OCI_ATTACHPIPE": str(attach_pipe.write_fd),
            "_OCI_STARTPIPE": str(start_pipe.read_fd),
        }
        fds = (sync_pipe.write_fd, attach_pipe.write_fd, start_pipe.read_fd)
        done = await oci.run(command.argv(), pass_fds=fds, env=env, cwd=directory)
        if done.code:
            raise Unavailable("start conmon", says=done.tail)
        sync, attached = sync_pipe.take_read(), attach_pipe.take_read()
        stack.push_async_callback(sync.aclose)
        stack.push_async_callback(attached.aclose)
        await attached.read()
        session = await stack.enter_async_context(attach.open_session(directory))
        os.write(start_pipe.write_fd, b"0")  # and for a second before it runs the program
        word = await sync.read()
    if word.data <= 0:
        raise classify(word.message) or Refused("run in the container", says=word.message)
    return session, sync, word.data


async def kill_conmons(directory: Path) -> None:
    """SIGKILL every conmon of a directory; its runtime child dies with it."""
    await supervisor.kill_and_wait([pid for pid, _ in supervisor.find_conmons(directory)])

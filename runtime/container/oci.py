"""The OCI runtime of this host, and the one door for child processes of this package."""

import os
import shutil
import subprocess  # noqa: TID251  this is the package's door; only constants are used
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import trio

from runtime.errors import Unavailable

OUTPUT_MAX_BYTES: Final = 64 << 10
TAIL_BYTES: Final = 4096
PIPE_BYTES: Final = 64 << 10  # what a pipe holds
CHILD_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Kind = Literal["crun", "runc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A child process that ended by itself."""

    code: int
    output: bytes

    @property
    def tail(self) -> str:
        return self.output[-TAIL_BYTES:].decode(errors="replace").strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Oci:
    """A runtime binary, how to reach it, and where it keeps its state."""

    kind: Kind
    version: str
    path: str
    state: Path
    prefix: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.kind} {self.version}"

    @property
    def argv(self) -> tuple[str, ...]:
        return (*self.prefix, self.path, "--root", str(self.state))


def hide_unified(mount: Path) -> tuple[str, ...]:
    """Words before a command that make it run without the v2 cgroup mount in sight.

    crun refuses hosts where the v2 hierarchy beside v1 has controllers, but works where that mount
    is out of sight, so it gets a mount namespace of its own. Only the runtime is wrapped, never
    conmon: a process that stays would pin every overlay mount that existed when it began. The
    namespace is a slave, so that rslave volumes still see later mounts of the host.
    """
    return (
        find_binary("unshare", package="util-linux"),
        "--mount",
        "--propagation=slave",
        "/bin/sh",
        "-c",
        'umount "$0" && exec "$@"',
        str(mount),
    )


def parse_version(text: str) -> str:
    """From ``crun version 1.8.1`` take ``1.8.1``; "unknown" if it says nothing of the kind."""
    words = text.split("\n", 1)[0].split()
    return words[2] if len(words) > 2 and words[1] == "version" else "unknown"


def find_binary(name: str, *, package: str) -> str:
    """The absolute path of a program, or Unavailable naming the package that has it."""
    found = shutil.which(name, path=CHILD_PATH)
    if found is None:
        raise Unavailable(f"find {name}", fix=f"apt install {package}")
    return found


def _read_tail(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    start = max(size - OUTPUT_MAX_BYTES, 0)
    return os.pread(fd, size - start, start)


async def run(
    argv: Sequence[str],
    *,
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Done:
    """Run a program to its end with closed stdin; stdout and stderr come back as one text.

    Cancel: the program is killed.
    """
    # not a pipe: what the program leaves behind (a container, conmon) may keep it open
    output = os.memfd_create("output")
    try:
        process = await trio.lowlevel.open_process(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=tuple(pass_fds),
            env={"PATH": CHILD_PATH, **(env or {})},
            cwd=cwd,
        )
        await _wait(process)
        return Done(code=process.returncode or 0, output=_read_tail(output))
    finally:
        os.close(output)


async def stream(
    argv: Sequence[str],
    sink: Callable[[bytes], None],
    stop: Callable[[int], Awaitable[None]],
) -> int:
    """Run a program to its end; its status (128+n for signal n). What it writes goes to ``sink``.

    Args:
        stop: ends a program of that pid and what it began, within a time of its own.

    Cancel: ``stop`` is called.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    async with trio.lowlevel.FdStream(read_fd) as output:
        try:
            process = await trio.lowlevel.open_process(
                list(argv), stdin=subprocess.DEVNULL, stdout=write_fd, stderr=write_fd,
                env={"PATH": CHILD_PATH},
            )  # fmt: skip
        finally:
            os.close(write_fd)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pump, output, sink)
            code = await _wait_or_stop(process, stop)
            nursery.cancel_scope.cancel()  # what it left behind may hold the pipe open for ever
            _drain(read_fd, sink)
    return code if code >= 0 else 128 - code


async def _wait_or_stop(process: trio.Process, stop: Callable[[int], Awaitable[None]]) -> int:
    try:
        return await process.wait()
    except BaseException:
        with trio.CancelScope(shield=True):  # stop has a deadline, and SIGKILL needs none
            await stop(process.pid)
            process.kill()
            await process.wait()
        raise


async def _pump(output: trio.lowlevel.FdStream, sink: Callable[[bytes], None]) -> None:
    while data := await output.receive_some(PIPE_BYTES):
        sink(bytes(data))


def _drain(fd: int, sink: Callable[[bytes], None]) -> None:
    """Take what is in a non-blocking pipe, but not more than it can hold at once."""
    try:
        sink(os.read(fd, PIPE_BYTES))
    except BlockingIOError:
        return


async def _wait(process: trio.Process) -> None:
    try:
        await process.wait()
    except BaseException:
        process.kill()
        with trio.CancelScope(shield=True):  # ends at once: SIGKILL was sent
            await process.wait()
        raise


async def read_version(path: str, state: Path) -> str:
    """Ask a runtime binary for its version."""
    # even for this crun makes its state directory: by default one in /run that nobody removes
    done = await run([path, "--root", str(state), "--version"])
    return parse_version(done.output.decode(errors="replace"))


async def open_user_namespace(first: int, count: int) -> int:
    """A descriptor of a user namespace whose ids from 0 on are those from ``first`` on here."""
    ready, told = os.pipe2(os.O_CLOEXEC)
    argv = (
        find_binary("unshare", package="util-linux"),
        "--user",
        "/bin/sh",
        "-c",
        "echo; exec sleep 60",
    )
    async with trio.lowlevel.FdStream(ready) as stream:
        try:
            process = await trio.lowlevel.open_process(
                list(argv), stdin=subprocess.DEVNULL, stdout=told, stderr=subprocess.DEVNULL,
                env={"PATH": CHILD_PATH},
            )  # fmt: skip
        finally:
            os.close(told)
        try:
            if not await stream.receive_some(1):
                raise Unavailable("make a user namespace", fix="sysctl user.max_user_namespaces")
            return _map_ids(Path("/proc") / str(process.pid), f"0 {first} {count}\n")
        finally:
            process.kill()
            with trio.CancelScope(shield=True):  # ends at once: SIGKILL was sent
                await process.wait()


def _map_ids(process: Path, line: str) -> int:
    for name in ("uid_map", "gid_map"):
        (process / name).write_text(line, encoding="ascii")
    return os.open(process / "ns/user", os.O_RDONLY | os.O_CLOEXEC)

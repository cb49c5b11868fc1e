"""The package's one door to child processes: mount(8), mkfs and helpers, never through a shell."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio

from voldrivers.errors import Unavailable

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TAIL_BYTES: Final = 4096
REAP_S: Final = 1.0  # a killed child that waits for a dead server stays until the kernel lets go


@dataclass(frozen=True, slots=True)
class Done:
    """How a child ended, and the end of what it said, in one line."""

    code: int
    says: str


async def run(*argv: str) -> Done:
    """Run a program to its end, with closed stdin.

    Cancel: it is killed; if it cannot die, because the kernel waits for somebody, it is left.

    Raises:
        Unavailable: the program is not installed.
    """
    # not a pipe: what a mount helper leaves in the background keeps it open
    output = os.memfd_create("output", os.MFD_CLOEXEC)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        process = await _open(argv, null, output)
        await _wait(process)
        return Done(process.returncode or 0, _read_tail(output))
    finally:
        os.close(null)
        os.close(output)


class Running:
    """A program that nobody waits for; who started it asks now and then."""

    def __init__(self, process: trio.Process, output: int) -> None:
        self._process = process
        self._output = output

    def poll(self) -> Done | None:
        """How it ended, or None while it runs; not to be asked again after that."""
        code = self._process.poll()
        if code is None:
            return None
        try:
            return Done(code, _read_tail(self._output))
        finally:
            os.close(self._output)

    async def stop(self) -> None:
        """End it; nobody asks again. One that cannot die is left."""
        self._process.kill()
        os.close(self._output)
        with trio.move_on_after(REAP_S, shield=True):
            await self._process.wait()


async def start(*argv: str) -> Running:
    """Start a program with closed stdin (Unavailable: it is not installed)."""
    output = os.memfd_create("output", os.MFD_CLOEXEC)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return Running(await _open(argv, null, output), output)
    except BaseException:
        os.close(output)
        raise
    finally:
        os.close(null)


async def _open(argv: Sequence[str], stdin: int, output: int) -> trio.Process:
    env = {"PATH": PATH, "LC_ALL": "C"}
    try:
        return await trio.lowlevel.open_process(
            list(argv), stdin=stdin, stdout=output, stderr=output, env=env
        )
    except FileNotFoundError:
        raise Unavailable("a program is not installed", program=argv[0]) from None


async def _wait(process: trio.Process) -> None:
    try:
        await process.wait()
    except BaseException:
        process.kill()
        with trio.move_on_after(REAP_S, shield=True):
            await process.wait()
        raise


def _read_tail(output: int) -> str:
    size = os.fstat(output).st_size
    raw = os.pread(output, TAIL_BYTES, max(0, size - TAIL_BYTES))
    return " ".join(raw.decode(errors="replace").split())

"""wireguard-go as a child that outlives the agent, for kernels that have no WireGuard.

Its configuration socket is at a place that all of a machine share, so it gets a /run of its own and
is reached through its root. A later agent finds it by its command line and network namespace.
"""

import contextlib
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from netdrivers.errors import Refused, Unavailable

BINARY: Final = "wireguard-go"
READY_S: Final = 5.0  # until its socket is there; 30 ms seen (2026-11), the rest is for a busy host
ASK_S: Final = 5.0
LOOK_S: Final = 0.01
ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LOG_LEVEL": "error",
    "WG_PROCESS_FOREGROUND": "1",  # else it tells at its start that the kernel's is better
}
ANSWER_MAX_BYTES: Final = 4 << 20  # 10,000 peers
# "$0" is the name of the link. exec: the process that we find is the program itself
SCRIPT: Final = (
    "mount -t tmpfs -o size=64k,mode=700 none /run && mkdir -p /run/wireguard"
    ' && exec wireguard-go -f "$0"'
)


@dataclass(slots=True)
class Child:
    """At most one at a time; the object comes and goes, the process stays."""

    name: str  # of the link
    log_file: Path
    home: int = -1  # the agent's network namespace: its packets leave from there
    _pidfd: int = -1
    _pid: int = 0
    _process: trio.Process | None = None  # if it is ours to reap

    async def start(self) -> bool:
        """Have it running: adopted (False) or started (True).

        Raises:
            Unavailable: the program is not installed, or does not come up.
        """
        self.let_go()
        if await trio.to_thread.run_sync(self._adopt):
            if self._socket.exists():
                return False
            await self.stop()  # it cannot be spoken to
        if self._process is not None:  # it ended, or has no socket any more
            self._process.kill()
            await self._process.wait()
            self._process = None
        if not shutil.which(BINARY):
            raise Unavailable(
                "the kernel has no WireGuard and wireguard-go is not installed: install it, or "
                "make the network with --opt encrypted=false"
            )
        with Path(self.log_file).open("wb") as output:  # noqa: ASYNC230  a local file
            self._process = await trio.lowlevel.open_process(
                self._command(),
                stdin=None,
                stdout=output,
                stderr=output,
                start_new_session=True,  # neither the terminal nor our end is its end
                cwd="/",
                env=ENVIRONMENT,
            )
        self._pid = self._process.pid
        self._pidfd = os.pidfd_open(self._pid)
        with trio.move_on_after(READY_S):
            while not self._socket.exists():
                if self._process.poll() is not None:
                    break
                await trio.sleep(LOOK_S)
            else:
                return True
        await self.stop()
        raise Unavailable("wireguard-go does not come up; is /dev/net/tun there?", link=self.name)

    def _command(self) -> list[str]:
        enter = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self.home}"]
        alone = ["unshare", "--mount", "--propagation", "private"]
        return [*enter, *alone, "/bin/sh", "-c", SCRIPT, self.name]

    @property
    def _socket(self) -> Path:
        return Path(f"/proc/{self._pid}/root/run/wireguard/{self.name}.sock")

    def _adopt(self) -> bool:
        home = os.fstat(self.home).st_ino
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            with contextlib.suppress(OSError):  # it ended while we looked
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[:3] != [BINARY.encode(), b"-f", self.name.encode()]:
                    continue
                if (entry / "ns/net").stat().st_ino != home:
                    continue
                self._pid, self._pidfd = int(entry.name), os.pidfd_open(int(entry.name))
                return True
        return False

    async def wait_exit(self) -> None:
        """Return when it has ended."""
        if self._pidfd >= 0:
            fd = os.dup(self._pidfd)  # several may wait, and a descriptor takes one
            try:
                await trio.lowlevel.wait_readable(fd)
            finally:
                os.close(fd)
        if self._process is not None:
            await self._process.wait()

    async def ask(self, request: bytes) -> bytes:
        """One question, one answer. Raises Unavailable: it does not answer."""
        answer = bytearray()
        try:
            with trio.fail_after(ASK_S):
                stream = await trio.open_unix_socket(str(self._socket))
                async with stream:
                    await stream.send_all(request)
                    while not answer.endswith(b"\n\n") and len(answer) < ANSWER_MAX_BYTES:
                        chunk = await stream.receive_some()
                        if not chunk:
                            break
                        answer += chunk
        except (OSError, trio.TooSlowError, trio.BrokenResourceError) as exc:
            raise Unavailable("wireguard-go does not answer", reason=repr(exc)) from exc
        if len(answer) >= ANSWER_MAX_BYTES:
            raise Refused("wireguard-go says more than we take", bytes=len(answer))
        return bytes(answer)

    async def stop(self) -> None:
        """End it. Its link goes with it."""
        if self._pidfd < 0 and not await trio.to_thread.run_sync(self._adopt):
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        await self.wait_exit()
        self.let_go()

    def let_go(self) -> None:
        """Forget it; it runs on."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._pidfd = -1

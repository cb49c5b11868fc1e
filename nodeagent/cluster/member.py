"""A manager's own etcd member: a child in a session of its own that outlives the agent.

A later agent finds it among the processes by its command line, which names its data directory. No
file with a pid: that could be missing after a kill, or name another program.
"""

import contextlib
import logging
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import trio

from nodeagent.cluster.ca import PEER_NAME
from nodeagent.errors import Unavailable

log = logging.getLogger(__name__)

STOP_S: Final = 10.0  # until a member that does not stop is killed; a guess
AGAIN_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)  # until a member that died is started anew
STEADY_S: Final = 30.0  # a member that ran that long begins at the first pause again
LOG_MAX_BYTES: Final = 8 << 20  # of a log file; the one before it is kept
BINARY: Final = "etcd"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSpec:
    """One member as wanted.

    Args:
        folder: for its data, certificates and log.
        host: its address for clients and other members.
        members: peer address of every member by name, its own included.
        state: ``new``: the cluster begins with it; ``existing``: it was added to one.
    """

    name: str
    folder: Path
    host: str
    client_port: int
    peer_port: int
    members: Mapping[str, str]
    state: Literal["new", "existing"]
    token: str = ""  # of the beginning: two that began in the same way are not the same
    force_new: bool = False  # the other members are lost for ever

    @property
    def peer_url(self) -> str:
        """Where other members reach it."""
        return build_url(self.host, self.peer_port)


def build_url(host: str, port: int) -> str:
    """``https://[fd00::1]:2379``."""
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"


def check_installed() -> None:
    """Unavailable if this host cannot have a member."""
    if not shutil.which(BINARY):
        raise Unavailable("a manager keeps the cluster's state in etcd: install etcd-server")


def build_args(spec: MemberSpec) -> list[str]:
    """The member's command line. Pure."""
    client, ca = build_url(spec.host, spec.client_port), f"{spec.folder}/store-ca.crt"
    peer = f"{spec.folder}/peer.pem"  # both in one file: no instant with another one's key
    return [
        BINARY,
        f"--name={spec.name}",
        f"--data-dir={spec.folder}/data",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={spec.peer_url}",
        f"--initial-advertise-peer-urls={spec.peer_url}",
        "--initial-cluster=" + ",".join(f"{name}={url}" for name, url in spec.members.items()),
        f"--initial-cluster-state={spec.state}",
        *([f"--initial-cluster-token={spec.token}"] if spec.token else []),
        *(["--force-new-cluster"] if spec.force_new else []),
        "--client-cert-auth",
        "--peer-client-cert-auth",
        f"--peer-cert-allowed-cn={PEER_NAME}",  # else any worker's would do to speak raft
        *_tls("", (f"{spec.folder}/node.crt", f"{spec.folder}/node.key", ca)),
        *_tls("peer-", (peer, peer, ca)),
        "--enable-grpc-gateway=false",  # nobody asks by JSON
        "--max-txn-ops=1024",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=1h",
        "--heartbeat-interval=100",
        "--election-timeout=1000",
        "--enable-v2=false",
        "--logger=zap",
    ]


def _tls(prefix: str, files: tuple[str, str, str]) -> list[str]:
    certificate, key, ca = files
    return [
        f"--{prefix}cert-file={certificate}",
        f"--{prefix}key-file={key}",
        f"--{prefix}trusted-ca-file={ca}",
    ]


class Member:
    """The member's process. One object has it at a time; the process does not mind."""

    def __init__(self, spec: MemberSpec) -> None:
        self._spec = spec
        self._pidfd = -1
        self._child: trio.Process | None = None  # if it is ours to reap

    async def keep_running(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Adopt or start it, and start it anew when it ends, until cancelled. It runs on then."""
        again = 0
        while True:
            try:
                await self.start()
            except (Unavailable, OSError) as exc:
                log.warning("the cluster's store cannot be started", extra={"error": str(exc)})
                await trio.sleep(AGAIN_S[-1])
                continue
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            began_s = trio.current_time()
            await self.wait_exit()
            again = 0 if trio.current_time() - began_s > STEADY_S else again + 1
            pause_s = AGAIN_S[min(again, len(AGAIN_S) - 1)]
            log.warning(
                "the cluster's store ended here, starting it again", extra={"in_s": pause_s}
            )
            await trio.sleep(pause_s)

    async def start(self) -> None:
        """Adopt the process if it runs, else start it.

        Raises:
            Unavailable: the program is not installed, or cannot be started.
        """
        self._let_go()
        if await trio.to_thread.run_sync(self._adopt):
            return
        check_installed()
        await trio.to_thread.run_sync(self._turn_log)
        with Path(self._spec.folder / "etcd.log").open("ab") as output:  # noqa: ASYNC230  a local file
            self._child = await trio.lowlevel.open_process(
                build_args(self._spec),
                stdin=None,
                stdout=output,
                stderr=output,
                start_new_session=True,  # neither the terminal nor our end is its end
                cwd="/",
                env={"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")},
            )
        self._pidfd = os.pidfd_open(self._child.pid)

    def _turn_log(self) -> None:
        path = self._spec.folder / "etcd.log"
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > LOG_MAX_BYTES:
                path.replace(path.with_suffix(".log.1"))

    def _adopt(self) -> bool:
        """Whether it runs already; then it is ours."""
        sought = f"--data-dir={self._spec.folder}/data".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            with contextlib.suppress(OSError):  # it ended while we looked
                pidfd = os.pidfd_open(int(entry.name))
                if sought in (entry / "cmdline").read_bytes().split(b"\0"):
                    self._pidfd = pidfd
                    return True
                os.close(pidfd)
        return False

    async def wait_exit(self) -> None:
        """Return when the process has ended."""
        if self._pidfd >= 0:
            fd = os.dup(self._pidfd)  # several may wait, and a descriptor takes one
            try:
                await trio.lowlevel.wait_readable(fd)
            finally:
                os.close(fd)
        if self._child is not None:
            await self._child.wait()

    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL if it does not hear that."""
        if self._pidfd < 0 and not await trio.to_thread.run_sync(self._adopt):
            return
        for number, wait_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, float("inf"))):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)
            with trio.move_on_after(wait_s):
                await self.wait_exit()
                break
        self._let_go()

    def _let_go(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

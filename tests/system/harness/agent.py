"""A real agent as a child process, in its own namespace, root and run directory."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.system.harness import leftovers, process
from tests.system.harness.leftovers import Snapshot
from tests.system.harness.namespace import Namespace, run

if TYPE_CHECKING:
    from tests.fakes.systemd import Systemd

CHECKOUT = Path(__file__).resolve().parents[3]
CRASHAGENT = Path(__file__).with_name("crashagent.py")
READY_S = 60.0
STOP_S = 30.0
ANSWER_S = 10.0
LOG_TAIL = 40


class Agent:
    """One agent on one namespace. ``start`` returns when it is ready; it may be killed any time."""

    def __init__(
        self, space: Namespace, base: Path, *, settings: str = "", crashing: bool = False
    ) -> None:
        self.space = space
        self.base = base
        self.root, self.run_dir = base / "lib", base / "run"
        self.config, self.log = base / "nodeagent.toml", base / "log"
        self.socket = self.run_dir / "nodeagent.sock"
        self.cgroup = f"/{base.name}"
        self._crashing = crashing
        self._notify = process.Notes(base / "notify")
        self._notes = process.Notes(base / "notes")
        self._child: process.Child | None = None
        self.systemd: Systemd | None = None  # who starts it and keeps its sockets, if anybody
        own = f'[container]\ncgroup_parent = "{self.cgroup}"\n'
        self.config.write_text(own + settings, encoding="utf-8")

    # --- its life -----------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """What ``--host`` takes."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self, *, crash_at: int = 0, wait: bool = True) -> None:
        """Start it. With ``crash_at`` it dies at that call, maybe before it is ready."""
        assert self._child is None, "it runs already"
        self._child = self._spawn(crash_at=crash_at)
        if wait:
            self.wait_ready()

    def replace(self, *, crash_at: int = 0) -> None:
        """A new one takes over; the old one must end by itself with status 0."""
        old, self._child = self._running(), self._spawn("--takeover", crash_at=crash_at)
        self.wait_ready()
        status = old.wait(STOP_S)
        old.end()
        assert status == 0, f"the old agent ended with {status}\n{self.log_tail()}"

    def begin_replace(self, *, crash_at: int = 0) -> process.Child:
        """Start a successor without waiting for it; the caller's to ``end`` or ``adopt``."""
        return self._spawn("--takeover", crash_at=crash_at)

    def adopt(self, successor: process.Child) -> None:
        """From now on the agent is this process; the former one has ended."""
        self.end_child()
        self._child = successor
        self.wait_ready()

    def adopt_ready(self, successor: process.Child) -> None:
        """The same for one that may have said already that it is ready: it answers."""
        self.end_child()
        self._child = successor
        self.cli("system", "ping")

    def _spawn(self, *flags: str, crash_at: int = 0) -> process.Child:
        self._notify.drain()
        self._notes.drain()
        program = [str(CRASHAGENT)] if self._crashing else ["-m", "nodeagent"]
        argv = [sys.executable, *program, "serve", "--config", str(self.config)]
        argv += [
            "--root",
            str(self.root),
            "--run",
            str(self.run_dir),
            "--log-level",
            "debug",
            *flags,
        ]
        env = self._environment() | {"NODEAGENT_CRASH_AT": str(crash_at)}
        argv = self.space.argv(*argv)
        if self.systemd is None:
            return process.start(argv, log=self.log, env=env)
        self.systemd.forget()
        argv, more, fds = self.systemd.start(argv)
        return process.start(argv, log=self.log, env=env | more, pass_fds=fds)

    def wait_ready(self) -> None:
        """Return when it told systemd's protocol that it is ready."""
        if self.systemd is not None:
            self.systemd.wait_said("READY=1", READY_S)
            return
        try:
            self._running().wait_note(self._notify, "READY=1", READY_S)
        except AssertionError as error:
            raise AssertionError(f"agent: {error}\n{self.log_tail()}") from None

    def stop(self) -> None:
        """SIGTERM; it must end by itself with status 0. Containers run on."""
        self._running().signal(signal.SIGTERM)
        status = self.wait_end(STOP_S)
        assert status == 0, f"agent ended with {status}\n{self.log_tail()}"

    def kill(self) -> None:
        """kill -9."""
        self._running().signal(signal.SIGKILL)
        self.wait_end(STOP_S)

    def wait_end(self, within_s: float) -> int:
        """Wait until it is dead; return its status, -9 after a kill."""
        child = self._running()
        status = child.wait(within_s)
        child.end()
        self._child = None
        return status

    def is_alive(self) -> bool:
        return self._child is not None and self._child.is_alive()

    def end(self) -> None:
        """However things stand: no process of it is left."""
        self.end_child()
        self._notify.close()
        self._notes.close()

    def end_child(self) -> None:
        """Make sure its process is gone; it may be started again."""
        if self._child is not None:
            self._child.end()
            self._child = None

    # --- its crashes --------------------------------------------------------------------------

    def arm(self, target: int) -> None:
        """Die at the ``target``-th call of a function of the product from now; 0 only counts."""
        self._order(target, "armed")

    def count(self) -> int:
        """Calls since ``arm``."""
        return int(self._order(-1, "count").split()[1])

    def died_at(self) -> str:
        """Where it died, after ``wait_end`` said -9: file, line, function."""
        said = self._notes.drain()
        died = [line for line in said if line.startswith("died")]
        return died[-1] if died else f"it said only {said}"

    def _order(self, target: int, answer: str) -> str:
        (self.base / "arm").write_text(str(target), encoding="ascii")
        child = self._running()
        child.signal(signal.SIGUSR2)
        return child.wait_note(self._notes, answer, ANSWER_S)

    # --- talking to it ------------------------------------------------------------------------

    def pipe(self, *args: str, data: bytes = b"") -> bytes:
        """Run a client command with bytes on its standard input; its standard output."""
        argv = [sys.executable, "-m", "nodeagent", *args]
        done = subprocess.run(
            argv, input=data, capture_output=True, timeout=ANSWER_S * 6, env=self._environment()
        )
        assert done.returncode == 0, f"{args}: {done.stderr!r}\n{self.log_tail()}"
        return done.stdout

    def cli(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a client command against it."""
        argv = [sys.executable, "-m", "nodeagent", *args]
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_S * 6,
            env=self._environment(),
        )
        if check and done.returncode:
            said = f"{done.stdout}{done.stderr}"
            raise AssertionError(
                f"nodeagent {' '.join(args)}: exit {done.returncode}\n{said}{self.log_tail()}"
            )
        return done

    def say(self, *args: str) -> str:
        """What a client command printed, without the newline."""
        return self.cli(*args).stdout.rstrip("\n")

    def inspect(self, noun: str, name: str) -> Any:
        """The one element ``inspect`` shows."""
        (view,) = json.loads(self.cli(noun, "inspect", name).stdout)
        return view

    def rows(self, noun: str, *args: str) -> list[Any]:
        """What ``ls --format json`` shows."""
        out = self.cli(noun, "ls", *args, "--format", "json").stdout
        return [json.loads(line) for line in out.splitlines()]

    def pid_of(self, container: str) -> int:
        pid: int = self.inspect("container", container)["State"]["Pid"]
        return pid

    def remove_all(self) -> None:
        """Containers, networks, volumes: as on the first day, images but for."""
        names = self.say("container", "ls", "-aq").split()
        if names:
            self.cli("container", "rm", "-f", "-v", *names)
        self.cli("network", "prune", "-f")
        self.cli("volume", "prune", "-a", "-f", "--now")

    def log_tail(self) -> str:
        lines = self.log.read_text("utf-8", "replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-LOG_TAIL:])

    # --- what it leaves -----------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        return leftovers.read_snapshot(self.space, self.base, self.cgroup)

    def expect(self, before: Snapshot) -> None:
        """Fail with the differences unless the kernel comes to look as in ``before``."""
        leftovers.wait_for(before, self.snapshot)

    def _running(self) -> process.Child:
        assert self._child is not None, "the agent does not run"
        return self._child

    def _environment(self) -> dict[str, str]:
        return child_environment() | {
            "NODEAGENT_HOST": self.host,
            "NOTIFY_SOCKET": str(self._notify.path),
            "NODEAGENT_CRASH": str(self.base),
        }


def child_environment() -> dict[str, str]:
    """Ours, but for what would change the child, with the checkout importable from anywhere."""
    kept: Mapping[str, str] = os.environ
    clean = {k: v for k, v in kept.items() if not k.startswith(("NODEAGENT_", "PYTEST_"))}
    return clean | {"PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}


@contextmanager
def open_agent(
    space: Namespace, *, settings: str = "", crashing: bool = False, small_disk_bytes: int = 0
) -> Iterator[Agent]:
    """A started agent; at the end nothing of it is left, even when it cannot help with that."""
    base = Path(tempfile.mkdtemp(prefix="nt-", dir="/tmp"))  # short: socket paths
    base.chmod(0o711)  # as directories on the way to /run and /var/lib are
    agent = Agent(space, base, settings=settings, crashing=crashing)
    try:
        if small_disk_bytes:
            _mount_small(base / "disk", agent.root, small_disk_bytes)
        agent.start()
        yield agent
    finally:
        agent.end()
        _clear(base, agent.cgroup)


def _mount_small(disk: Path, root: Path, size_bytes: int) -> None:
    """A filesystem of its own for the agent's data: a file on a loop device."""
    root.mkdir()
    with disk.open("wb") as file:
        file.truncate(size_bytes)
    run(["mke2fs", "-q", "-t", "ext4", "-m", "0", str(disk)])
    run(["mount", "-o", "loop", str(disk), str(root)])


def _clear(base: Path, cgroup: str) -> None:
    """Take away by force what a broken test left."""
    for pid in leftovers.pids_of(base, cgroup):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for point in reversed(leftovers.mounts_below(base)):
        run(["umount", "-l", point], check=False)
    leftovers.remove_cgroups(cgroup, within_s=ANSWER_S)
    shutil.rmtree(base)

"""People at real terminals: they come, and go by their keys.

Covers nodeagent/cli/session.py.
"""

import os
import pty
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from nodeagent.rpc.sync_client import open_sync_client
from tests.system.harness.agent import Agent

WITHIN_S = 30.0


class Person:
    """A command of ours at a terminal of its own."""

    def __init__(self, agent: Agent, *args: str) -> None:
        argv = [sys.executable, "-m", "nodeagent", "--host", agent.host, *args]
        self._fd, inner = pty.openpty()
        tty.setraw(inner)  # what we see is the container's echo, not this terminal's
        os.set_blocking(self._fd, False)
        self.process = subprocess.Popen(argv, stdin=inner, stdout=inner, stderr=inner)
        os.close(inner)
        self._seen = b""

    def type(self, *pieces: bytes) -> None:
        """Each piece is a write of its own."""
        for piece in pieces:
            os.write(self._fd, piece)

    def sees(self, wanted: bytes) -> None:
        """Wait until this is shown; what came before is done with."""
        deadline = time.monotonic() + WITHIN_S
        while not self.hears(wanted):
            assert time.monotonic() < deadline, self._seen
            time.sleep(0.01)
        self._seen = self._seen.partition(wanted)[2]

    def hears(self, wanted: bytes) -> bool:
        """Whether this was shown by now."""
        with suppress(BlockingIOError):
            self._seen += os.read(self._fd, 65536)
        return wanted in self._seen

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)


@contextmanager
def person(agent: Agent, *args: str) -> Iterator[Person]:
    found = Person(agent, *args)
    try:
        yield found
    finally:
        found.close()


def test_keys_leave_and_half_of_them_are_typed(agent: Agent) -> None:
    keys = ("--detach-keys", "ctrl-x,y,z")
    shout = "stty -echo; echo ready; while read -r it; do echo got $it; done"
    with person(agent, "run", "-it", *keys, "--name", "box", "busybox", "sh", "-c", shout) as first:
        first.sees(b"ready")
        with person(agent, "attach", "box") as second:
            first.type(b"\x18", b"yq\n")
            first.sees(b"got \x18yq")
            while second.process.poll() is None:  # until it stands it hears nothing
                first.type(b"hello\n")
                first.sees(b"got hello")
                if second.hears(b"got hello"):
                    break
            first.type(b"\x18", b"y", b"z")
            assert first.process.wait(WITHIN_S) == 0
            second.type(b"still here\n")
            second.sees(b"got still here")
            second.type(b"\x10", b"\x11")
            assert second.process.wait(WITHIN_S) == 0
    assert agent.inspect("container", "box")["State"]["Running"] is True


FLOOD = 20_000_000


def test_who_does_not_read_holds_up_neither_the_container_nor_others(agent: Agent) -> None:
    script = f"read it; yes | head -c {FLOOD}; exit 5"
    agent.cli("create", "-i", "--name", "box", "busybox", "sh", "-c", script)
    with (
        open_sync_client(agent.host) as lazy,
        open_sync_client(agent.host) as keen,
        lazy.stream("container.attach", {"name": "box", "window": 1}) as unread,
        keen.stream("container.attach", {"name": "box", "stdin": True, "window": 64}) as read,
    ):
        next(iter(unread))  # it is attached, and reads nothing more
        agent.cli("start", "box")
        read.send_input(b"go\n")
        got = sum(len(item["data"]) for item in read if item.get("data"))
        assert got == FLOOD
        assert agent.inspect("container", "box")["State"]["ExitCode"] == 5
        # and who reads late has it all
        late = sum(len(item["data"]) for item in unread if item.get("data"))
        assert late == FLOOD


def test_a_slow_pipe_gets_everything(agent: Agent) -> None:
    count = "yes | head -c 3000000"
    run = [sys.executable, "-m", "nodeagent", "--host", agent.host, "run", "--rm", "busybox"]
    with subprocess.Popen([*run, "sh", "-c", count], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        time.sleep(2)  # the program has long ended; what it wrote is still there
        assert len(child.stdout.read()) == 3_000_000
    assert child.returncode == 0

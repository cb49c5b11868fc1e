"""Log collectors for tests: Debian's rsyslogd, systemd's journald, and a server of Fluentd's."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgpack

READY_S = 30.0
RSYSLOG = """\
global(workDirectory="{folder}" maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off")
module(load="imtcp") module(load="imptcp") module(load="imudp")
module(load="imuxsock" SysSock.Use="off")
input(type="imtcp" port="{port}" address="127.0.0.1")
input(type="imudp" port="{port}" address="127.0.0.1")
input(type="imptcp" path="{folder}/stream" unlink="on")
input(type="imuxsock" socket="{folder}/datagrams" unlink="on")
template(name="line" type="string"
  string="%pri%|%app-name%|%msgid%|%structured-data%|%msg%\\n")
action(type="omfile" file="{folder}/got" template="line")
"""
JOURNALD = """\
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journald.conf.d /run/log/journal &&
printf '[Journal]\\nStorage=volatile\\nAudit=no\\nReadKMsg=no\\nForwardToSyslog=no\\n\
RateLimitIntervalSec=0\\n' > /run/systemd/journald.conf.d/test.conf &&
exec /lib/systemd/systemd-journald
"""


def wait_for(holds, within_s: float = READY_S):
    """The first truthy thing that ``holds`` gives."""
    end = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < end, f"not within {within_s} s"
        time.sleep(0.02)
    return found


class Rsyslog:
    """Debian's rsyslogd: TCP and UDP at ``port``, and two unix sockets in ``folder``."""

    def __init__(self, folder: Path, prefix: Sequence[str] = ()) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.folder = folder
        self._prefix = prefix
        self._child: subprocess.Popen[bytes] | None = None
        (folder / "conf").write_text(RSYSLOG.format(folder=folder, port=self.port))

    def start(self) -> None:
        (self.folder / "datagrams").unlink(missing_ok=True)
        argv = ["rsyslogd", "-n", "-C", "-f", str(self.folder / "conf"), "-i", "NONE"]
        self._child = subprocess.Popen([*self._prefix, *argv])
        wait_for((self.folder / "datagrams").exists)

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def stop(self) -> None:
        """Let it write what it has."""
        if self._child is not None:
            self._child.terminate()
            self._child.wait()
            self._child = None

    def rows(self) -> list[list[str]]:
        """Priority, app, message id, data and text of every message so far."""
        path = self.folder / "got"
        text = path.read_text("utf-8", "replace") if path.exists() else ""
        whole, _, _torn = text.rpartition("\n")
        return [line.split("|", 4) for line in whole.splitlines()]

    def texts(self) -> list[str]:
        return [row[4].removeprefix(" ") for row in self.rows()]


@contextmanager
def open_rsyslog(folder: Path, prefix: Sequence[str] = ()) -> Iterator[Rsyslog]:
    """A running one; it is gone at the end."""
    made = Rsyslog(folder, prefix)
    try:
        made.start()
        yield made
    finally:
        made.kill()


class Journald:
    """systemd's journald in a mount namespace of its own."""

    def __init__(self, pid: int) -> None:
        self._root = Path(f"/proc/{pid}/root")
        self.path = self._root / "run/systemd/journal/socket"

    def entries(self) -> list[dict[str, object]]:
        """What is in the journal from containers; binary fields as lists of numbers."""
        argv = ["journalctl", "-D", str(self._root / "run/log/journal"), "-o", "json", "-a",
                "CONTAINER_NAME=web"]  # fmt: skip
        done = subprocess.run(argv, capture_output=True, check=False)
        return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def open_journald() -> Iterator[Journald]:
    """A running one; it is gone at the end."""
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", JOURNALD]
    child = subprocess.Popen(argv)
    try:
        made = Journald(child.pid)
        wait_for(lambda: Path(made.path).exists())
        yield made
    finally:
        child.kill()
        child.wait()


class Forward:
    """A server of the forward protocol on a unix socket; serves one connection at a time.

    ``drops``: so many messages are taken and not answered: the connection is closed instead.
    """

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self.tags: list[str] = []
        self.records: list[dict[str, object]] = []

    def close(self) -> None:
        self._socket.close()

    def serve(self, count: int, *, drops: int = 0) -> None:
        """Take messages until ``count`` records have been acknowledged."""
        while len(self.records) < count:
            self._socket.settimeout(READY_S)
            connection, _ = self._socket.accept()
            with connection:
                drops = self._talk(connection, drops)

    def _talk(self, connection: socket.socket, drops: int) -> int:
        unpacker = msgpack.Unpacker()
        connection.settimeout(READY_S)
        while data := connection.recv(65536):
            unpacker.feed(data)
            for tag, entries, options in unpacker:
                assert options["size"] == len(entries)
                if drops:
                    return drops - 1
                self.tags.append(tag)
                self.records += [record for _, record in entries]
                if "chunk" in options:
                    connection.sendall(msgpack.packb({"ack": options["chunk"]}))
        return drops

"""Clients that ask without pause and try nothing twice: what they lose is lost.

Run as ``python traffic.py KIND ARGUMENT…`` in the namespace to ask from; it says ``ready``, works
until its standard input ends, and prints a report as JSON. ``open_traffic`` does all that.
"""

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[3]
SERVER = ("127.0.0.11", 53)
TRY_S = float(os.environ.get("TRAFFIC_TRY_S", "5"))  # one try takes no longer
PAUSE_S = 0.002
END_S = 60.0


def main() -> None:
    """Work until the input ends."""
    kind, *words = sys.argv[1:]
    attempt = KINDS[kind](*words)
    print("ready", flush=True)
    tries, failures, worst_s = 0, [], 0.0
    while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
        started = time.monotonic()
        try:
            attempt()
        except Exception as exc:  # noqa: BLE001  whatever it is, it is a failed try
            failures.append(f"try {tries} after {time.monotonic() - started:.3f} s: {exc!r}")
        tries += 1
        worst_s = max(worst_s, time.monotonic() - started)
    print(json.dumps({"tries": tries, "failures": failures[:20], "worst_ms": worst_s * 1e3}))


def udp(name: str) -> Callable[[], None]:
    """Ask for a name by one datagram."""
    number = 0

    def attempt() -> None:
        nonlocal number
        number = (number + 1) & 0xFFFF
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(TRY_S)
            sock.connect(SERVER)
            sock.send(_question(number, name))
            _check(sock.recv(4096), number)

    return attempt


def tcp(name: str) -> Callable[[], None]:
    """Ask for a name over a connection of its own."""

    def attempt() -> None:
        with socket.create_connection(SERVER, timeout=TRY_S) as sock:
            question = _question(7, name)
            sock.sendall(len(question).to_bytes(2, "big") + question)
            with sock.makefile("rb") as file:
                _check(file.read(int.from_bytes(file.read(2), "big")), 7)

    return attempt


def _question(number: int, name: str) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    head = number.to_bytes(2, "big") + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    return head + labels + b"\x00\x00\x01\x00\x01"


def _check(answer: bytes, number: int) -> None:
    """A positive answer to our question, with at least one address."""
    assert answer[:2] == number.to_bytes(2, "big"), answer
    assert answer[3] & 15 == 0, f"rcode {answer[3] & 15}"
    assert answer[6:8] > b"\x00\x00", "no address"


def http(host: str, port: str) -> Callable[[], None]:
    """Open a connection and get a page."""

    def attempt() -> None:
        with socket.create_connection((host, int(port)), timeout=TRY_S) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with sock.makefile("rb") as file:
                answer = file.read()
        assert b" 404 " in answer or b" 200 " in answer, answer

    return attempt


def rpc(host: str) -> Callable[[], None]:
    """Connect and call ``system.ping``."""
    sys.path[0] = str(CHECKOUT)
    from nodeagent.rpc.sync_client import open_sync_client  # after the path is set

    def attempt() -> None:
        with open_sync_client(host) as client:
            client.call("system.ping")

    return attempt


def thief(protocol: str, host: str, port: str) -> Callable[[], None]:
    """Try to get a port that is held; the failure is to succeed."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM

    def attempt() -> None:
        with socket.socket(socket.AF_INET, kind) as sock:
            try:
                sock.bind((host, int(port)))
            except OSError:
                return
        raise AssertionError("the port was free")

    return attempt


KINDS: dict[str, Callable[..., Callable[[], None]]] = {
    "udp": udp, "tcp": tcp, "http": http, "rpc": rpc, "thief": thief,
}  # fmt: skip


@dataclass(slots=True)
class Traffic:
    """One running client; ``report`` ends it."""

    child: "subprocess.Popen[str]"

    def report(self) -> Any:
        """End it and return what it counted."""
        out, _ = self.child.communicate(timeout=END_S)
        return json.loads(out)

    def expect_no_failure(self, *, tries: int) -> float:
        """All of at least ``tries`` went well; return the worst one in ms."""
        report = self.report()
        assert report["failures"] == [], report
        assert report["tries"] >= tries, report
        worst: float = report["worst_ms"]
        return worst


@contextmanager
def open_traffic(netns: Path, *words: str, try_s: float = TRY_S) -> Iterator[Traffic]:
    """Start a client in a namespace; it has begun, and is gone at the end."""
    env = os.environ | {"TRAFFIC_TRY_S": str(try_s)}
    argv: Sequence[str] = (
        "nsenter", f"--net={netns}", "--", sys.executable, str(Path(__file__)), *words
    )  # fmt: skip
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield Traffic(child)
        finally:
            child.kill()


if __name__ == "__main__":
    main()

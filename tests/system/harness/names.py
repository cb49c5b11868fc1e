"""Asking for names as a container does, and name servers of other people."""

import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from dnslib import EDNS0, QTYPE, RCODE, DNSRecord

from netdrivers.dns.namespace import make_socket
from tests.system.harness.agent import Agent

OURS = "127.0.0.11"
ANSWER_S = 10.0


def sandbox_of(agent: Agent, container: str) -> Path:
    """The network namespace of a running container."""
    return Path(f"/proc/{agent.pid_of(container)}/ns/net")


class Asker:
    """A socket in a container, connected to a name server; one question after the other."""

    def __init__(self, netns: Path, server: str = OURS) -> None:
        self._socket = make_socket(netns, socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(ANSWER_S)
        self._socket.connect((server, 53))

    def ask(self, name: str, qtype: str = "A", *, edns: bool = False) -> DNSRecord:
        """The whole reply."""
        asked = DNSRecord.question(name, qtype)
        if edns:
            asked.add_ar(EDNS0(udp_len=1232))
        self._socket.send(asked.pack())
        while True:
            reply = DNSRecord.parse(self._socket.recv(65535))
            if reply.header.id == asked.header.id:
                return reply

    def find(self, name: str, qtype: str = "A") -> list[str]:
        """The data of all answers; or the code, in brackets."""
        reply = self.ask(name, qtype)
        if reply.header.rcode:
            return [f"<{RCODE[reply.header.rcode]}>"]
        return sorted(str(each.rdata) for each in reply.rr if each.rtype == getattr(QTYPE, qtype))

    def close(self) -> None:
        self._socket.close()


@contextmanager
def open_asker(agent: Agent, container: str, server: str = OURS) -> Iterator[Asker]:
    """Ask from inside a running container."""
    asker = Asker(sandbox_of(agent, container), server)
    try:
        yield asker
    finally:
        asker.close()


SERVER = """
import socket, sys
address, answer = sys.argv[1:3]
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((address, 53))
print("ready", flush=True)
while True:
    packet, peer = sock.recvfrom(4096)
    end = packet.index(b"\\0", 12) + 5
    known = packet[end - 4 : end - 2] == b"\\0\\1"
    body = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\1\\0\\4" + socket.inet_aton(answer) if known else b""
    head = packet[:2] + b"\\x81\\x80\\0\\1\\0" + bytes([known]) + b"\\0\\0\\0\\0"
    sock.sendto(head + packet[12:end] + body, peer)
"""

RELAY = """
import socket, sys
address, other = sys.argv[1:3]
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((address, 53))
print("ready", flush=True)
while True:
    packet, peer = sock.recvfrom(4096)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.sendto(packet, (other, 53))
"""


def open_server(inside: Sequence[str], address: str, answer: str) -> AbstractContextManager[None]:
    """A name server to whom every name is ``answer``. ``inside``: how to get where it lives."""
    return _open(inside, SERVER, address, answer)


def open_relay(inside: Sequence[str], address: str, other: str) -> AbstractContextManager[None]:
    """A name server that passes each question on to ``other``, and no answer back."""
    return _open(inside, RELAY, address, other)


@contextmanager
def _open(inside: Sequence[str], program: str, *args: str) -> Iterator[None]:
    argv = [*inside, sys.executable, "-c", program, *args]
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n", "the name server did not start"
        yield
    finally:
        child.kill()
        child.communicate()

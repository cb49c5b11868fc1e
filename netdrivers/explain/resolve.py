"""A question to 127.0.0.11 of a sandbox, from inside it: the rules there are on the way, too."""

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import trio
from dnslib import QTYPE, DNSRecord

from netdrivers.contract.specs import IPAddress
from netdrivers.dns.message import DNSLIB_FAULTS, Rcode
from netdrivers.dns.namespace import make_socket
from netdrivers.dns.route import OWN_ADDRESS
from netdrivers.errors import NetDriverError
from netdrivers.explain.facts import Heard

PORT: Final = 53
TRIES: Final = 2
ANSWER_S: Final = 1.0  # one of our own names takes 0.1 ms; others wait for an upstream
MESSAGE_BYTES: Final = 4096


async def ask_server(netns: Path, name: str, expected: Sequence[IPAddress]) -> Heard:
    """Ask for the addresses of ``name``, of the family of those that are expected."""
    kind = "AAAA" if expected and expected[0].version == 6 else "A"
    question = DNSRecord.question(name, kind)
    try:
        made = make_socket(netns, socket.AF_INET, socket.SOCK_DGRAM)
    except (OSError, NetDriverError) as exc:
        return Heard(error=f"no socket in the sandbox: {exc}")
    with trio.socket.from_stdlib_socket(made) as sock:
        for _ in range(TRIES):
            try:
                await sock.connect((OWN_ADDRESS, PORT))
                await sock.send(question.pack())
                with trio.move_on_after(ANSWER_S):
                    return _heard(await sock.recv(MESSAGE_BYTES), question.header.id, kind)
            except OSError as exc:
                return Heard(error=(exc.strerror or str(exc)).lower())
    return Heard(error=f"no answer in {TRIES} s")


def _heard(answer: bytes, ident: int, kind: str) -> Heard:
    try:
        record = DNSRecord.parse(answer)
    except DNSLIB_FAULTS as exc:
        return Heard(error=f"an answer that is none: {exc}")
    if record.header.id != ident:
        return Heard(error="an answer to another question")
    answers = tuple(ip_address(str(each.rdata)) for each in record.rr if QTYPE[each.rtype] == kind)
    if answers:
        return Heard(answers=answers)
    if record.header.rcode == Rcode.NOERROR:
        return Heard(error=f"no {kind} record")
    return Heard(error=Rcode(record.header.rcode).name)

"""Which rules take packets out of tracking, by their messages."""

import struct

import pytest

from netdrivers.kernel.codec import NESTED, attr
from netdrivers.kernel.untracked import Untracked, parse_untracked


def be(value: int) -> bytes:
    return struct.pack(">I", value)


def expr(name: str, *attributes: bytes) -> bytes:
    return attr(1 | NESTED, attr(1, name.encode() + b"\0") + attr(2 | NESTED, b"".join(attributes)))


def compare(value: bytes, op: int = 0) -> bytes:
    data = attr(3 | NESTED, attr(1, value))
    return expr("cmp", attr(1, be(1)), attr(2, be(op)), data)


def rule(*expressions: bytes, family: int = 2) -> bytes:
    head = bytes([family, 0, 0, 0]) + attr(1, b"foreign\0") + attr(2, b"raw\0")
    return head + attr(3, struct.pack(">Q", 7)) + attr(4 | NESTED, b"".join(expressions))


PROTOCOL = expr("meta", attr(1, be(1)), attr(2, be(16)))
PORT = expr("payload", attr(1, be(1)), attr(2, be(2)), attr(3, be(2)), attr(4, be(2)))
NOTRACK = expr("notrack")


@pytest.mark.parametrize(
    ("expressions", "protocol", "port"),
    [
        ([NOTRACK], "", 0),
        ([PROTOCOL, compare(b"\x06"), PORT, compare(b"\x1f\x90"), NOTRACK], "tcp", 8080),
        ([PROTOCOL, compare(b"\x2f"), NOTRACK], "other", 0),
        ([PORT, compare(b"\x1f\x90", op=1), NOTRACK], "", 0),  # any but that port
        ([expr("target", attr(1, b"CT\0"), attr(3, b"\1\0"))], "", 0),
    ],
)
def test_what_a_rule_asks_for(expressions, protocol, port) -> None:
    assert parse_untracked(rule(*expressions)) == Untracked(
        family="ip", table="foreign", chain="raw", handle=7, protocol=protocol, port=port
    )


def test_rules_that_leave_tracking_alone() -> None:
    assert parse_untracked(rule(PROTOCOL, compare(b"\x06"))) is None
    assert parse_untracked(rule(expr("target", attr(1, b"CT\0"), attr(3, b"\0\0")))) is None

"""Addresses of hosts as people write them, and the one that others are told."""

import socket
from ipaddress import ip_address

from nodeagent.errors import Invalid


def advertised(text: str, *, towards: str = "") -> str:
    """The address of this host that others use: the one asked for, else that of the way to them.

    Raises:
        Invalid: it is no address, or none of this host's; or there is no way.
    """
    if not text:
        return source_address(towards)
    found = parse_address(text, "advertise_addr")
    kind = socket.AF_INET6 if ":" in found else socket.AF_INET
    with socket.socket(kind, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((found, 0))
        except OSError as exc:
            raise Invalid(
                "not an address of this host", field="advertise_addr", value=text
            ) from exc
    return found


def parse_address(text: str, field: str = "address") -> str:
    """An IP address in its usual form. Invalid: it is none."""
    try:
        return str(ip_address(text))
    except ValueError as exc:
        raise Invalid("not an IP address", field=field, value=text) from exc


def parse_remote(text: str, default_port: int) -> tuple[str, int]:
    """``host:port``, ``[v6]:port`` or without a port."""
    head, colon, tail = text.rpartition(":")
    if not colon or text.endswith("]") or (":" in head and not head.startswith("[")):
        head, tail = text, str(default_port)
    if not head.strip("[]") or not tail.isdecimal() or not 0 < int(tail) < 65536:
        raise Invalid("expected HOST:PORT of a manager", field="remote", value=text)
    return head.strip("[]"), int(tail)


def build_host(host: str) -> str:
    """An address as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def source_address(towards: str) -> str:
    """This host's address on the way to another, or to anybody. Nothing is sent."""
    v6 = ":" in towards
    with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards or "192.0.2.1", 9))
        except OSError as exc:
            raise Invalid(
                "which address of this host the others should use is not clear: give "
                "--advertise-addr",
                field="advertise_addr",
            ) from exc
        return str(probe.getsockname()[0])

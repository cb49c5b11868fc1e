"""``--publish`` and ``--expose``: what to publish where. Pure."""

from typing import Final

from nodeagent.cli.grammar import UsageError
from nodeagent.cli.quantities import parse_port_range

_PROTOCOLS: Final = ("tcp", "udp", "sctp")
Binding = dict[str, object]


def parse_publish(words: str) -> list[Binding]:
    """Read ``[[HOST_IP:][HOST_PORT]:]PORT[/PROTOCOL]``, or ``published=…,target=…,protocol=…``.

    Ports may be ranges of equal length; for a range of host ports and one port of the container
    the first free one is taken.

    Raises:
        UsageError: names the part that is wrong.
    """
    if "=" in words:
        words = _short_form(words)
    address, protocol = _split_protocol("publish", words)
    host_ip, host, container = _split_address(address)
    inner = parse_port_range("publish", container)
    if host in {"", "0"}:
        return [_binding(port, 0, host_ip, protocol) for port in inner]
    outer = parse_port_range("publish", host)
    if len(inner) == 1 and len(outer) > 1:
        one = _binding(inner[0], outer[0], host_ip, protocol)
        return [one | {"host_port_end": outer[-1]}]
    if len(outer) != len(inner):
        raise UsageError(
            f"--publish: {words!r} has {len(outer)} host ports for {len(inner)} ports of the"
            " container; the ranges must be equally long"
        )
    return [_binding(port, at, host_ip, protocol) for port, at in zip(inner, outer, strict=True)]


def _short_form(words: str) -> str:
    parts = {"published": "", "target": "", "protocol": "tcp"}
    for part in words.split(","):
        key, equals, value = part.partition("=")
        if not equals or key not in parts:
            raise UsageError(
                f"--publish: {part!r} in {words!r} is not one of published=PORT, target=PORT,"
                " protocol=tcp|udp|sctp"
            )
        parts[key] = value
    return f"{parts['published']}:{parts['target']}/{parts['protocol']}"


def _binding(port: int, host_port: int, host_ip: str, protocol: str) -> Binding:
    binding: Binding = {"container_port": port, "protocol": protocol, "host_port": host_port}
    return binding | ({"host_ip": host_ip} if host_ip else {})


def _split_protocol(flag: str, words: str) -> tuple[str, str]:
    address, slash, protocol = words.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in _PROTOCOLS:
        raise UsageError(f"--{flag}: {protocol!r} in {words!r} is not one of tcp, udp, sctp")
    return address, protocol


def _split_address(address: str) -> tuple[str, str, str]:
    """Give host address, host ports and container ports; the first two may be empty."""
    rest, _, container = address.rpartition(":")
    host_ip, colon, host = rest.rpartition(":")
    if not colon:
        return "", host, container
    if host_ip.startswith("[") and host_ip.endswith("]"):
        return _check_ip(host_ip[1:-1] or "[]"), host, container
    return _check_ip(host_ip), host, container


def _check_ip(words: str) -> str:
    # A literal address: a name here would be resolved by nobody.
    import ipaddress

    try:
        ip = ipaddress.ip_address(words) if words else ""
    except ValueError:
        raise UsageError(f"--publish: {words!r} is not an IP address") from None
    if "%" in words:
        raise UsageError(f"--publish: {words!r}: an address with a zone cannot be published on")
    return str(ip)


def parse_expose(words: str) -> list[str]:
    """Read ``80``, ``80/udp`` or ``8000-8002/tcp`` as a list of ``PORT/PROTOCOL``."""
    ports, protocol = _split_protocol("expose", words)
    return [f"{port}/{protocol}" for port in parse_port_range("expose", ports)]

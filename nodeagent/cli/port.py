"""Published ports: of one container as Docker shows them, and all with who can reach them."""

from collections.abc import Mapping, Sequence
from typing import Final

from nodeagent.cli.call import Call, CommandFailed, Row, parse_filters, pick
from nodeagent.cli.grammar import Verb, Words
from nodeagent.cli.output import LIST_FLAGS, print_list, put, short_id

COLUMNS: Final = (
    ("CONTAINER", "Container"),
    ("HOST ADDRESS", "HostAddress"),
    ("PORT", "Port"),
    ("HELD", "Held"),
    ("WHO CAN REACH IT", "Reach"),
)


def _ls(call: Call) -> int:
    rows = call.rows("port.ls", filters=parse_filters(call.values.list("filter")))
    if not call.values.is_on("no-trunc"):
        rows = [row | {"ContainerID": short_id(str(row["ContainerID"]))} for row in rows]
    return print_list(call, [_shown(row) for row in rows], COLUMNS, name="HostAddress")


def _shown(row: Row) -> Row:
    """With the two texts that the table has."""
    return row | {
        "HostAddress": _address(str(row["HostIP"]), str(row["HostPort"])),
        "Port": f"{row['ContainerPort']}/{row['Protocol']}",
    }


def _port(call: Call) -> int:
    view = call.rows("container.inspect", names=call.words[:1])[0]
    ports = pick(view["NetworkSettings"], "Ports", dict)
    lines = port_lines(ports, call.words[1:])
    if not lines and len(call.words) > 1:
        raise CommandFailed(f"port {call.words[1]} of {call.words[0]} is not published")
    put("".join(line + "\n" for line in lines))
    return 0


def port_lines(ports: Mapping[str, list[dict[str, str]] | None], asked: Sequence[str]) -> list[str]:
    """Say where ports are published: ``80/tcp -> 0.0.0.0:8080``, or only the address."""
    wanted = [port if "/" in port else f"{port}/tcp" for port in asked]
    lines = []
    for port in sorted(ports, key=_port_order):
        for binding in ports[port] or ():
            address = _address(binding["HostIp"], binding["HostPort"])
            if not asked:
                lines.append(f"{port} -> {address}")
            elif port in wanted:
                lines.append(address)
    return lines


def _port_order(port: str) -> tuple[int, str]:
    digits, _, protocol = port.partition("/")
    return int(digits), protocol


def _address(ip: str, port: str) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


VERBS: Final = (
    Verb(
        name="ls",
        help="List all published ports and who can reach them",
        run=_ls,
        flags=LIST_FLAGS,
        aliases=("list",),
        examples=(
            "nodeagent port ls",
            "nodeagent port ls --filter container=web --filter protocol=tcp --format json",
        ),
    ),
    Verb(
        name="port",
        help="Show where the ports of a container are published",
        run=_port,
        words=Words(usage="CONTAINER [PORT[/PROTOCOL]]", least=1, most=2, completes="container"),
        examples=("nodeagent port web", "nodeagent port web 80/tcp"),
    ),
)

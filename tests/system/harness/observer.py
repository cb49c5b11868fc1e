"""What the kernel holds for an agent's networks, a line a thing: as ``netmodel`` wants it.

Read with ip and nft, ports by trying, names by asking; only what inspect says is the agent's own
word.
"""

import errno
import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from netdrivers.dns.namespace import make_socket
from nodeagent.rpc.sync_client import open_sync_client
from tests.system.harness.agent import Agent
from tests.system.harness.names import Asker
from tests.system.harness.namespace import run

MARK = "nodeagent:"  # nodeagent:AGENT:OBJECT


def read_lines(agent: Agent, ports: Iterable[int]) -> set[str]:
    """Everything in the agent's namespace and in that of each of its containers.

    ``ports``: of the host, that may be held.
    """
    pins = {path.name: path for path in (agent.run_dir / "netns").iterdir()}
    views = _call(agent, "container.inspect", {"names": list(pins)}) if pins else []
    names = {view["Id"]: view["Name"].lstrip("/") for view in views}
    here = agent.space.path
    found = {f"sandbox {id_}" for id_ in pins}
    found |= {
        *_links(here),
        *_routes(here),
        *_elements(here),
        *_held(here, ports),
        *_inspected(agent),
    }
    for id_, path in pins.items():
        found |= {f"in {names[id_]} {line}" for line in (*_inner_links(path), *_routes(path))}
    return found


def read_rules(space: Path) -> list[str]:
    """The rules of all chains, in order."""
    return [json.dumps(each["rule"]["expr"]) for each in _ruleset(space) if "rule" in each]


def read_answers(asker: str, netns: Path, names: list[str]) -> Iterator[str]:
    """What a container is told of these names."""
    client = Asker(netns)
    try:
        for name in names:
            for qtype in ("A", "AAAA"):
                yield f"{asker} asks {name} {qtype}: {_answer(client, name, qtype)}"
    finally:
        client.close()


def _answer(client: Asker, name: str, qtype: str) -> str:
    try:
        return " ".join(client.find(name, qtype))
    except (TimeoutError, ConnectionError) as error:
        return repr(error)


def _links(space: Path) -> Iterator[str]:
    """All links: the namespace is the agent's alone."""
    for link in _json(space, "ip", "-j", "-d", "address", "show"):
        name, state = link["ifname"], "up" if "UP" in link["flags"] else "down"
        kind = link.get("linkinfo", {}).get("info_kind", "")
        if name == "lo":
            continue
        is_ours = link.get("ifalias", "").startswith(MARK)
        whose = "" if is_ours else " without our mark"
        on = f" on {link.get('master', 'nothing')}" if kind == "veth" else ""
        yield f"{kind} {name}{on} {state}{whose}"
        yield from (f"address {name} {text}" for text in _addresses(link))


def _inner_links(space: Path) -> Iterator[str]:
    for link in _json(space, "ip", "-j", "address", "show"):
        name, state = link["ifname"], "up" if "UP" in link["flags"] else "down"
        if name == "lo":
            continue
        yield f"link {name} {link['address']} {state}"
        yield from (f"address {name} {text}" for text in _addresses(link))


def _addresses(link: Any) -> Iterator[str]:
    for info in link["addr_info"]:
        if info["scope"] == "global":
            yield f"{info['local']}/{info['prefixlen']}"


def _routes(space: Path) -> Iterator[str]:
    for version in (4, 6):
        for route in _json(space, "ip", "-j", f"-{version}", "route", "show"):
            via = f" via {route['gateway']}" if "gateway" in route else ""
            if not route["dst"].startswith(("fe80:", "ff00:")):
                yield f"route {route['dst']}{via} dev {route.get('dev')}"


def _ruleset(space: Path) -> list[Any]:
    listed: list[Any] = _json(space, "nft", "-j", "list", "ruleset")["nftables"]
    return listed


def _elements(space: Path) -> Iterator[str]:
    for each in _ruleset(space):
        for kind in each.keys() & {"set", "map"}:
            for element in each[kind].get("elem", []):
                yield f"set {each[kind]['name']} {_words(element)}"


def _words(element: Any) -> str:
    match element:
        case {"elem": {"val": value}}:  # with a comment
            return _words(value)
        case {"concat": parts}:
            return " ".join(map(_words, parts))
        case [match, value]:
            return f"{_words(match)} : {_words(value)}"
        case _:
            return str(element)


def _held(space: Path, ports: Iterable[int]) -> Iterator[str]:
    """Those that nobody else can have: no tool lists what is bound and does not listen."""
    for port in ports:
        with make_socket(space, socket.AF_INET, socket.SOCK_STREAM) as rival:
            try:
                rival.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                yield f"held 127.0.0.1:{port}"


def _inspected(agent: Agent) -> Iterator[str]:
    names = [row["Name"] for row in _call(agent, "network.ls", {}) if row["Driver"] == "bridge"]
    for view in _call(agent, "network.inspect", {"names": names}):
        about = f"inspect {view['Name']}:"
        for each in view["Containers"].values():
            addresses = f"{each['IPv4Address']} {each['IPv6Address'] or 'none'}"
            yield (
                f"{about} {each['Name']} {each['Interface']} {each['MacAddress']} {addresses}"
                f" {' '.join(each['Ports']) or 'none'} as {' '.join(each['Names'])}"
            )
        wrong = [obj for obj in view["KernelObjects"] if obj["State"] != "present"]
        yield from (f"{about} {obj['State']}: {obj['Object']}" for obj in wrong)
        if view["Problem"] or view["Conflicts"]:
            yield f"{about} {view['Problem']} {view['Conflicts']}"


def _call(agent: Agent, method: str, params: Mapping[str, object]) -> Any:
    with open_sync_client(agent.host) as client:
        return client.call(method, params)


def _run(space: Path, *args: str) -> str:
    return run(["nsenter", f"--net={space}", "--", *args]).stdout


def _json(space: Path, *args: str) -> Any:
    return json.loads(_run(space, *args) or "[]")

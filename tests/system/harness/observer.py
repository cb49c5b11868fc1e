"""What the kernel holds for an agent's networks: read with ip and nft, never through the agent."""

import json
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Any

from tests.system.harness.agent import Agent
from tests.system.harness.namespace import run

MARK = "nodeagent:"  # nodeagent:AGENT:OBJECT
MAPS = ("publish4any", "publish4", "publish6any", "publish6")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """One sandbox: addresses by interface, and the interfaces with a default route by family."""

    addresses: dict[str, frozenset[str]]
    defaults: dict[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Links of ours by owner, ports by host address and number, pinned sandboxes."""

    bridges: dict[str, bool]  # network id -> up, with its gateway addresses
    veths: int
    ports: dict[tuple[str, str, int], str]  # (protocol, host address, port) -> container address
    sandboxes: frozenset[str]


def look(agent: Agent) -> Seen:
    """Read the agent's namespace."""
    links = _json(agent.space.argv("ip", "-j", "-d", "address", "show"))
    ours = [link for link in links if str(link.get("ifalias", "")).startswith(MARK)]
    kinds = [(link.get("linkinfo", {}).get("info_kind"), link) for link in ours]
    return Seen(
        bridges={
            link["ifalias"].rpartition(":")[2]: "UP" in link["flags"] and bool(_addresses(link))
            for kind, link in kinds
            if kind == "bridge"
        },
        veths=sum(kind == "veth" and "master" in link for kind, link in kinds),
        ports=_ports(agent),
        sandboxes=frozenset(path.name for path in (agent.run_dir / "netns").iterdir()),
    )


def look_inside(agent: Agent, sandbox: str) -> Inside:
    """Read one sandbox."""
    enter = ["nsenter", f"--net={agent.run_dir / 'netns' / sandbox}", "--"]
    links = _json([*enter, "ip", "-j", "address", "show"])
    routes = {v: _json([*enter, "ip", "-j", f"-{v}", "route", "show", "default"]) for v in (4, 6)}
    return Inside(
        addresses={
            link["ifname"]: _addresses(link)
            for link in links
            if link["ifname"] != "lo" and "UP" in link["flags"]
        },
        defaults={v: found[0]["dev"] for v, found in routes.items() if found},
    )


def _addresses(link: Any) -> frozenset[str]:
    given = (info for info in link["addr_info"] if info["scope"] == "global")
    return frozenset(f"{info['local']}/{info['prefixlen']}" for info in given)


def _ports(agent: Agent) -> dict[tuple[str, str, int], str]:
    found: dict[tuple[str, str, int], str] = {}
    words = agent.space.run("nft", "list", "tables", "inet").stdout.split()
    table = next((word for word in words if word.startswith("nodeagent")), "none")
    for name in MAPS:
        argv = agent.space.argv("nft", "-j", "list", "map", "inet", table, name)
        done = run(argv, check=False)
        if done.returncode:  # the table is not there: nothing is published
            continue
        (listed,) = [each["map"] for each in json.loads(done.stdout)["nftables"] if "map" in each]
        for match, value in listed.get("elem", []):
            plain = match["elem"]["val"] if "elem" in match else match  # with or without a comment
            address, protocol, port = ("", *plain["concat"])[-3:]
            found[protocol, address, port] = value["concat"][0]
    return found


def _json(argv: list[str]) -> Any:
    return json.loads(run(argv).stdout or "[]")


def family(text: str) -> int:
    """4 or 6."""
    return ip_interface(text).version

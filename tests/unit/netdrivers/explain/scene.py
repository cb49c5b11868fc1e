"""Two containers on one network, others elsewhere; facts that are whole."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface

from netdrivers.contract.explain import Asked
from netdrivers.explain.facts import Facts, Link, Route, Space
from netdrivers.explain.trip import build_trip
from tests.fakes.world import World

A, B, OUT = ip_address("10.1.0.2"), ip_address("10.1.0.3"), ip_address("198.51.100.2")
GATEWAY = ip_address("10.1.0.1")
BRIDGE, VETH_A, VETH_B = "br-aaaaaaaaaaaa", "ve0000002a61000", "ve0000003a62000"
MAC_A, MAC_B, MAC_BRIDGE = "02:42:00:00:61:02", "02:42:00:00:61:03", "02:42:aa:aa:aa:aa"


def trip(source="a", target=B, port=80, protocol="tcp", options=(), **fields):
    world = World()
    net_a = world.network("a", "10.1.0.0/24", options=dict(options))
    net_b = world.network("b", "10.2.0.0/24")
    inner = world.network("c", "10.3.0.0/24", internal=True)
    world.container("a", net_a, 2)
    world.container("b", net_a, 3, "tcp:198.51.100.1:8080:80")
    world.container("c", net_b, 2)
    world.container("i", inner, 2)
    asked = Asked(
        source=source,
        source_name=str(source),
        target_name="b",
        addresses=(target,),
        port=port,
        protocol=protocol,
        **fields,
    )
    return build_trip(asked, world.desired, [ip_address("198.51.100.1"), GATEWAY])


def inside(ip, mac, to, **fields) -> Space:
    return Space(
        links={"eth0": Link(up=True, mac=mac), "lo": Link(up=True)},
        addresses={"eth0": frozenset({ip_interface(f"{ip}/24")})},
        to=to,
        back=Route(link="eth0"),
        **fields,
    )


def whole(to=B) -> Facts:
    direct = Route(link="eth0", via=None if to == B else GATEWAY, source=A)
    links = {
        BRIDGE: Link(up=True, mac=MAC_BRIDGE),
        VETH_A: Link(up=True, master=BRIDGE),
        VETH_B: Link(up=True, master=BRIDGE),
        "up0": Link(up=True),
    }
    host = Space(
        links=links,
        addresses={BRIDGE: frozenset({ip_interface("10.1.0.1/24")})},
        to=Route(link=BRIDGE if to == B else "up0"),
        back=Route(link=BRIDGE),
        ports={(BRIDGE, MAC_B): VETH_B},
        sysctls={"net.ipv4.ip_forward": "1", f"net.ipv4.conf.{BRIDGE}.forwarding": "1"},
    )
    listeners = frozenset({("tcp", ip_address("0.0.0.0"), 80)})
    return Facts(
        spaces={
            "a": inside(A, MAC_A, direct),
            "": host,
            "b": inside(B, MAC_B, Route(link="eth0"), listeners=listeners),
        },
        published=frozenset({("tcp", "198.51.100.1", 8080)}),
    )


def changed(facts: Facts, space: str, **fields) -> Facts:
    return replace(facts, spaces=facts.spaces | {space: replace(facts.spaces[space], **fields)})


def link(facts: Facts, space: str, name: str, **fields) -> Facts:
    links = dict(facts.spaces[space].links)
    links[name] = replace(links[name], **fields)
    return changed(facts, space, links=links)

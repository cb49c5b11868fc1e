"""Facts in, the answer out: one fault at a time in facts that are else whole.

Covers netdrivers/explain/far.py
netdrivers/explain/fate.py netdrivers/explain/station.py netdrivers/explain/facts.py
"""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from netdrivers.explain.errand import Ruled, Seen, Tidings
from netdrivers.explain.facts import Facts, Heard, Neighbour, Route, Space
from netdrivers.explain.judge import judge
from tests.unit.netdrivers.explain.scene import (
    BRIDGE,
    MAC_A,
    MAC_B,
    OUT,
    VETH_A,
    VETH_B,
    B,
    changed,
    link,
    trip,
    whole,
)


def test_what_is_whole_has_nothing_in_the_way() -> None:
    found = judge(trip(), whole())
    assert found.reachable is None
    assert {hop.state for hop in found.hops} == {"ok"}
    assert found.summary == "a to b port 80/tcp: nothing found in the way, but not tried"


NO_ROUTE = Route(error="Network is unreachable")
FAULTS = {
    "own link down": (link(whole(), "a", "eth0", up=False), "interface", "down"),
    "own address gone": (changed(whole(), "a", addresses={}), "interface", "10.1.0.2/24 is gone"),
    "no route": (changed(whole(), "a", to=NO_ROUTE), "route", "Network is unreachable"),
    "route elsewhere": (changed(whole(), "a", to=Route(link="tun0")), "route", "goes by tun0"),
    "full table": (changed(whole(), "a", tracked=(9, 9)), "conntrack", "full: 9 of 9"),
    "wrong MAC": (
        changed(whole(), "a", neighbours={("eth0", B): Neighbour(mac=MAC_A, state="permanent")}),
        "neighbour",
        f"wrong MAC entry: {MAC_A}",
    ),
    "nobody answers": (
        changed(whole(), "a", neighbours={("eth0", B): Neighbour(mac="", state="failed")}),
        "neighbour",
        "nobody answers for 10.1.0.3",
    ),
    "pair down": (link(whole(), "", VETH_A, up=False), "veth", f"{VETH_A} to eth0): link is down"),
    "pair off": (link(whole(), "", VETH_B, master=""), "veth", "nor on any other"),
    "pair on another": (link(whole(), "", VETH_B, master="br0"), "veth", "but on br0"),
    "port disabled": (
        link(whole(), "", VETH_B, port_state=0),
        "veth",
        f"port {VETH_B} is disabled (state 0)",
    ),
    "own port blocked": (
        link(whole(), "", VETH_A, port_state=4),
        "veth",
        f"port {VETH_A} is blocking (state 4)",
    ),
    "bridge down": (link(whole(), "", BRIDGE, up=False), "bridge", "link is down"),
    "wrong port": (changed(whole(), "", ports={(BRIDGE, MAC_B): "x"}), "bridge", "behind x, not"),
    "target's address gone": (changed(whole(), "b", addresses={}), "interface", "10.1.0.3/24"),
    "target's rp_filter": (
        changed(
            whole(), "b", sysctls={"net.ipv4.conf.all.rp_filter": "1"}, back=Route(link="eth1")
        ),
        "rp_filter",
        "net.ipv4.conf.all.rp_filter = 1 drops it",
    ),
    "no listener": (changed(whole(), "b", listeners=frozenset()), "listener", "on 80/tcp"),
    "another listener": (
        changed(whole(), "b", listeners=frozenset({("tcp", ip_address("::"), 81)})),
        "listener",
        "there is: 81/tcp",
    ),
    "no way back": (changed(whole(), "b", back=NO_ROUTE), "way back", "no route back"),
    "small links": (link(whole(), "", VETH_B, mtu_bytes=1200), "mtu", f"{VETH_B} (MTU 1200)"),
    "target gone": (
        replace(whole(), spaces={k: v for k, v in whole().spaces.items() if k != "b"}),
        "interface",
        "namespace is gone",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_between_two_of_one_network(name) -> None:
    facts, place, says = FAULTS[name]
    found = judge(trip(), facts)
    assert found.reachable is False
    bad = [hop for hop in found.hops if hop.state != "ok"]
    assert bad[0].place == place
    assert says in found.summary
    assert bad[0].fix or place in {"interface", "neighbour"}


ROUTED = {
    "forwarding off": ({"sysctls": {"net.ipv4.ip_forward": "0"}}, "forwarding", "ip_forward = 0"),
    "strict": (
        {"sysctls": {f"net.ipv4.conf.{BRIDGE}.rp_filter": "1"}, "back": Route(link="up0")},
        "rp_filter",
        "goes by up0",
    ),
    "loose": (
        {"sysctls": {"net.ipv4.conf.all.rp_filter": "2"}, "back": NO_ROUTE},
        "rp_filter",
        "= 2 drops it",
    ),
    "gateway gone": ({"addresses": {}}, "bridge", "10.1.0.1 is gone"),
    "no route": ({"to": NO_ROUTE}, "route", "no route"),
    "full": ({"tracked": (7, 7)}, "conntrack", "full"),
}


@pytest.mark.parametrize("name", ROUTED)
def test_a_fault_of_the_host(name) -> None:
    fields, place, says = ROUTED[name]
    asked = trip(target=OUT, port=0, protocol="icmp")
    assert judge(asked, whole(OUT)).reachable is None
    found = judge(asked, changed(whole(OUT), "", **fields))
    assert next(hop.place for hop in found.hops if hop.state == "fails") == place
    assert says in found.summary


def test_what_our_table_keeps_apart() -> None:
    facts = whole(OUT)
    facts = replace(facts, spaces=facts.spaces | {"c": Space(), "i": Space()})
    found = judge(trip(target=ip_address("10.2.0.2")), facts)
    assert "networks a and b are kept apart" in {hop.why for hop in found.hops}
    found = judge(trip(source=None, source_ip=OUT), whole())
    assert "nothing from outside is let in to network a" in found.summary
    no_way = replace(facts.spaces["i"], to=NO_ROUTE)
    found = judge(trip("i", OUT), replace(facts, spaces=facts.spaces | {"i": no_way}))
    assert "no route" in " ".join(hop.why for hop in found.hops)


def test_published_ports() -> None:
    host = ip_address("198.51.100.1")
    asked = trip(source=None, source_ip=OUT, target=host, port=8080)
    assert judge(asked, whole()).reachable is None
    gone = replace(whole(), published=frozenset())
    assert "element is gone" in judge(asked, gone).summary
    asked = trip(source=None, source_ip=OUT, target=host, port=8081)
    assert "port not published" in judge(asked, whole()).summary


def test_names() -> None:
    whole_name = trip(name="b")
    assert judge(whole_name, replace(whole(), heard=Heard(answers=(B,)))).reachable is None
    found = judge(trip(name="b", no_name="b is elsewhere"), whole())
    assert found.summary.endswith("name of a (b is 10.1.0.3): b is elsewhere")
    silent = replace(whole(), heard=Heard(error="no answer"))
    assert "the name server is dead for it: no answer" in judge(whole_name, silent).summary
    silent = changed(silent, "a", has_redirect=False)
    assert "table ip nodeagent-dns" in judge(whole_name, silent).summary


# --- the probe has the last word ---------------------------------------------------------------


def seen(space, link_, *, out=False, what="probe", big=False, text="", missed=False) -> Seen:
    return Seen(space=space, link=link_, outgoing=out, what=what, big=big, text=text, missed=missed)


def way(*, big=False, reply="connection accepted") -> list[Seen]:
    there = [
        seen("a", "eth0", out=True, big=big),
        seen("", VETH_A, big=big, missed=True),
        seen("", VETH_B, out=True, big=big),
        seen("b", "eth0", big=big),
    ]
    back = [
        seen("b", "eth0", out=True, what="reply", big=big, text=reply),
        seen("a", "eth0", what="reply", big=big, text=reply),
    ]
    return [*there, *back] if reply else there


def told(facts, *sightings, **fields) -> Facts:
    return replace(facts, tidings=Tidings(seen=list(sightings), **fields))


def test_an_answer_is_an_answer() -> None:
    found = judge(trip(), whole(), told(whole(), *way(), *way(big=True)))
    assert found.reachable is True
    assert found.summary == "a to b port 80/tcp: reachable (connection accepted)"


def test_what_was_mended_meanwhile_is_no_reason() -> None:
    broken = link(whole(), "", VETH_B, up=False)
    found = judge(trip(), broken, told(whole(), *way(), *way(big=True)))
    assert found.reachable is True
    assert any("the probe got past it" in hop.why for hop in found.hops)


def test_what_was_broken_at_either_look_is_a_reason_when_there_is_no_answer() -> None:
    broken = link(whole(), "", VETH_B, up=False)
    lost = told(whole(), seen("a", "eth0", out=True), seen("", VETH_A, missed=True))
    assert VETH_B in judge(trip(), broken, lost).summary
    lost = told(broken, seen("a", "eth0", out=True), seen("", VETH_A, missed=True))
    assert VETH_B in judge(trip(), whole(), lost).summary


def test_a_frame_for_another_mac_proves_nothing() -> None:
    wrong = {("eth0", B): Neighbour(mac=MAC_A, state="permanent")}
    facts = changed(whole(), "a", neighbours=wrong)
    flooded = [*way(reply="")[:3], seen("b", "eth0", missed=True)]
    assert "wrong MAC" in judge(trip(), facts, told(facts, *flooded)).summary


def test_lost_where_nothing_explains_it() -> None:
    found = judge(trip(), whole(), told(whole(), *way(reply="")[:2]))
    assert found.reachable is False
    bad = next(hop for hop in found.hops if hop.state == "fails")
    assert (bad.place, bad.where) == ("rules", "this host")
    assert bad.why == f"the probe was last seen at {VETH_A}"
    assert "leaves no trace" in bad.fix


def test_no_answer_from_beyond() -> None:
    asked = trip(target=OUT, port=0, protocol="icmp")
    left = [seen("a", "eth0", out=True), seen("", BRIDGE), seen("", "up0", out=True)]
    found = judge(asked, whole(OUT), told(whole(OUT), *left))
    assert "beyond of outside (answer of 198.51.100.2): the probe was last seen at up0" in (
        found.summary
    )
    broken = changed(whole(OUT), "", addresses={})  # at one look only, but what else could it be?
    found = judge(asked, broken, told(whole(OUT), *left))
    assert "10.1.0.1 is gone" in found.summary
    answer = seen("a", "eth0", what="reply", text="echo reply")
    assert judge(asked, broken, told(whole(OUT), *left, answer)).reachable is True


def test_an_error_from_the_way_is_told() -> None:
    error = seen("a", "eth0", what="error", text="host unreachable, says 10.1.0.1")
    found = judge(trip(), whole(), told(whole(), seen("a", "eth0", out=True), error))
    assert "host unreachable, says 10.1.0.1" in found.summary


def ruled(space, table="foreign", *, chain="stop", rule="drop", what="probe", big=False) -> Ruled:
    return Ruled(
        space=space, what=what, big=big, family="inet", table=table, chain=chain, rule=rule
    )


@pytest.mark.parametrize(
    ("sightings", "rule", "where", "says"),
    [
        ([], ruled("a"), ("rules", "a"), "a rule that is not ours drops it: `drop`"),
        (way(reply="")[:2], ruled(""), ("rules", "this host"), "chain stop in table inet foreign"),
        (way(reply=""), ruled("b", rule="policy drop"), ("rules", "b"), "policy drop"),
        (way()[:5], ruled("a", what="reply"), ("way back", "b"), "drops the answer"),
        (
            way(reply="")[:2],
            ruled("", "nodeagent-x", chain="operator-after"),
            ("rules", "this host"),
            "the operator's rule",
        ),
        (
            way(reply="")[:2],
            ruled("", "nodeagent", rule="iifname @internal drop"),
            ("rules", "this host"),
            "the network is internal",
        ),
        ([], ruled("elsewhere"), ("rules", "of sandbox elsewhere"), "not ours"),
    ],
)
def test_a_rule_is_named_where_it_is(sightings, rule, where, says) -> None:
    found = judge(trip(), whole(), told(whole(), *sightings, ruled=[rule]))
    bad = [hop for hop in found.hops if hop.state == "fails"]
    assert (bad[0].place, bad[0].where) == where
    assert says in found.summary


def test_a_refused_connection_has_no_listener() -> None:
    found = judge(trip(), whole(), told(whole(), *way(reply="connection refused")))
    assert found.reachable is False
    assert "listener of b (80/tcp): connection refused" in found.summary


def test_what_the_kernel_would_not_send() -> None:
    found = judge(trip(), whole(), told(whole(), refused="Operation not permitted"))
    assert "Operation not permitted" in found.summary


def test_a_datagram_needs_no_answer() -> None:
    facts = changed(whole(), "b", listeners=frozenset({("udp", ip_address("::"), 80)}))
    taken = [seen("b", "", what="reply", text="the datagram arrived", big=big) for big in (0, 1)]
    found = judge(trip(protocol="udp"), facts, told(facts, *way(reply=""), *taken))
    assert found.reachable is True
    assert "the datagram arrived" in found.summary


@pytest.mark.parametrize(
    ("big", "state", "says"),
    [
        (way(big=True), "ok", "1500 bytes"),
        (way(big=True, reply="")[:3], "fails", f"{VETH_B} (MTU 1200)"),
        ([seen("a", "eth0", what="error", big=True, text="too big")], "ok", "too big"),
    ],
)
def test_big_packets(big, state, says) -> None:
    facts = link(whole(), "", VETH_B, mtu_bytes=1200)
    found = judge(trip(), facts, told(facts, *way(), *big))
    assert (found.hops[-1].place, found.hops[-1].state) == ("mtu", state)
    assert says in f"{found.hops[-1].what} {found.hops[-1].why}"
    assert found.reachable is (state == "ok")


def test_a_big_packet_that_is_lost_or_dropped_on_a_way_that_looks_whole() -> None:
    lost = told(whole(), *way(), *way(big=True, reply="")[:3])
    assert f"black hole: the probe of 1500 bytes was last seen at {VETH_B}" in (
        judge(trip(), whole(), lost).summary
    )
    rules = [ruled("", rule="length > 1400 drop", big=True)]
    dropped = told(whole(), *way(), *way(big=True, reply="")[:2], ruled=rules)
    assert "length > 1400 drop" in judge(trip(), whole(), dropped).summary

"""Networks: create, join, plan, repair and the like."""

from collections.abc import Sequence
from typing import Final

from nodeagent.cli.call import Call, as_row, go_on, parse_filters, parse_pairs, pick
from nodeagent.cli.grammar import (
    Values,
    Verb,
    Words,
    many,
    number,
    one,
    several,
    switch,
    text,
)
from nodeagent.cli.objects import inspect_verb
from nodeagent.cli.output import LIST_FLAGS, print_list, put, short_id
from nodeagent.cli.plan import FORMAT, PLAN_FLAGS, plan_verb, plans, print_lines, print_plan
from nodeagent.cli.prune import FORCE, prune
from nodeagent.cli.subnets import SWARM_FLAGS, build_subnets, check_swarm_flags

Params = dict[str, object]

COLUMNS: Final = (
    ("NETWORK ID", "ID"),
    ("NAME", "Name"),
    ("DRIVER", "Driver"),
    ("SCOPE", "Scope"),
)


def _create(call: Call) -> int:
    params = build_create(call.values, call.words)
    if plans(call):
        return print_plan(call, create=params)
    put(f"{call.row('network.create', **params)['id']}\n")
    return 0


def build_create(values: Values, words: Sequence[str]) -> Params:
    """Build the parameters of ``network.create``."""
    check_swarm_flags(values)
    return Params(
        name=words[0],
        driver=values.text("driver"),
        subnets=build_subnets(
            values.list("subnet"),
            values.list("gateway"),
            values.list("ip-range"),
            values.list("aux-address"),
        ),
        internal=values.is_on("internal"),
        ipv4=values.is_on("ipv4"),
        ipv6=values.is_on("ipv6") if "ipv6" in values.given else None,
        labels=parse_pairs(values.list("label"), "label"),
        options=parse_pairs(values.list("opt"), "opt"),
    )


def _ls(call: Call) -> int:
    rows = call.rows("network.ls", filters=parse_filters(call.values.list("filter")))
    if not call.values.is_on("no-trunc"):
        rows = [row | {"ID": short_id(str(row["ID"]))} for row in rows]
    return print_list(call, rows, COLUMNS, name="ID")


def _rm(call: Call) -> int:
    if plans(call):
        return go_on(call.words, lambda name: print_plan(call, rm={"name": name}))
    force = call.values.is_on("force")
    return call.for_each_word(lambda name: call.rpc("network.rm", name=name, force=force) and None)


def _connect(call: Call) -> int:
    values = call.values
    endpoint: dict[str, object] = {
        field: values.text(flag)
        for flag, field in (("ip", "ip"), ("ip6", "ip6"), ("mac-address", "mac_address"))
        if values.text(flag)
    }
    if values.list("alias"):
        endpoint["aliases"] = values.list("alias")
    if "gw-priority" in values.given:
        endpoint["gateway_priority"] = values.number("gw-priority")
    network, container = call.words
    params = Params(network=network, container=container, endpoint=endpoint)
    if plans(call):
        return print_plan(call, connect=params)
    call.rpc("network.connect", **params)
    return 0


def _disconnect(call: Call) -> int:
    network, container = call.words
    params = Params(network=network, container=container, force=call.values.is_on("force"))
    if plans(call):
        return print_plan(call, disconnect=params)
    call.rpc("network.disconnect", **params)
    return 0


def _prune(call: Call) -> int:
    what, heading = "networks without containers", "Deleted Networks:"
    filters = parse_filters(call.values.list("filter"))
    return prune(call, "network.prune", what, heading, filters=filters)


def _plan(call: Call) -> int:
    if not call.words:
        return print_plan(call)
    from nodeagent.cli.run import RUN

    ours = {verb.name: verb for verb in VERBS if verb.name in _PLANNED}
    return plan_verb(call, {**ours, RUN.name: RUN})


def _check(call: Call) -> int:
    return int(_drift(call, "network.check", "all is as wanted"))


def _repair(call: Call) -> int:
    _drift(call, "network.repair", "nothing was changed")
    return 0


def _audit(call: Call) -> int:
    found = call.row("network.audit")
    leaks = [as_row(each) for each in pick(found, "leaks", list)]
    lines = [f"{each['kind']}: {each['what']} ({each['why']})" for each in leaks]
    lines += [
        f"other agent: {count} links and tables bear the mark of {agent}"
        for agent, count in pick(found, "others", dict).items()
    ]
    none = "nothing of ours is nobody's"
    print_lines(call, found, lines if leaks else [*lines, none], none)
    return int(bool(leaks))


def _drift(call: Call, method: str, none: str) -> bool:
    """Print what is, or was, to be mended; whether there was anything."""
    found = call.row(method, network=call.words[0] if call.words else "")
    ops, conflicts = pick(found, "ops", list), pick(found, "conflicts", list)
    lines = [*ops, *(f"! {each}" for each in conflicts)]
    print_lines(call, found, lines, none)
    return bool(lines)


_DRIVER_OPTIONS: Final = (
    "Options of the bridge driver (-o):",
    "  com.docker.network.bridge.name=LINK                   name of the bridge",
    "  com.docker.network.bridge.enable_icc=false            no way from one member to another",
    "  com.docker.network.bridge.enable_ip_masquerade=false  members go out as themselves",
    "  com.docker.network.bridge.gateway_mode_ipv4=MODE      nat[-unprotected], routed, isolated",
    "  com.docker.network.bridge.gateway_mode_ipv6=MODE      the same for IPv6",
    "  com.docker.network.bridge.host_binding_ipv4=IP        where -p without address publishes",
    "  com.docker.network.bridge.trusted_host_interfaces=A:B links whose neighbours may come in",
    "  com.docker.network.driver.mtu=BYTES                   also of a macvlan",
    "",
    "Options of the macvlan driver (-o):",
    "  parent=LINK          link on the wire, eth0.30 for VLAN 30",
    "  macvlan_mode=MODE    bridge, private, vepa or passthru",
    "  host_access=true     the host can reach the members",
)
_PLANNED: Final = ("create", "rm", "connect", "disconnect")
_PERHAPS_ONE: Final = Words(usage="[NETWORK]", most=1, completes="network")
_PAIR: Final = Words(usage="NETWORK CONTAINER", least=2, most=2, completes="network container")

VERBS: Final = (
    Verb(
        name="create",
        help="Create a network",
        run=_create,
        flags=(
            many("aux-address", "Address that is not given out: NAME=IP (host: the host's own)"),
            text("driver", "Driver: bridge or macvlan", "d", "bridge"),
            *PLAN_FLAGS,
            many("gateway", "Gateway of a subnet"),
            switch("internal", "Without a way out"),
            many("ip-range", "Give out addresses from this part of a subnet"),
            switch("ipv4", "With IPv4", default=True),
            switch("ipv6", "Also IPv6; on by itself if a subnet of IPv6 is given"),
            many("label", "Set metadata KEY=VALUE"),
            many("opt", "Option of the driver: KEY=VALUE, see above", "o"),
            many("subnet", "Subnet, e.g. 172.30.0.0/16; of a macvlan that of the wire"),
            *SWARM_FLAGS,
        ),
        words=one("NETWORK"),
        examples=(
            "nodeagent network create demo",
            "nodeagent network create --subnet 172.30.0.0/16 --gateway 172.30.0.1 demo",
            "nodeagent network create --ipv4=false --ipv6 six",
            "nodeagent network create -o com.docker.network.bridge.enable_icc=false apart",
            "nodeagent network create -d macvlan -o parent=eth0 --subnet 192.0.2.0/24 lan",
            "nodeagent network create -d macvlan -o parent=eth0 -o macvlan_mode=private"
            " --subnet 192.0.2.0/24 --ip-range 192.0.2.128/26 apart",
            "nodeagent network create -d macvlan -o parent=eth0 -o host_access=true"
            " --subnet 192.0.2.0/24 --aux-address host=192.0.2.250 lan",
        ),
        notes=_DRIVER_OPTIONS,
    ),
    Verb(
        name="ls",
        help="List networks",
        run=_ls,
        flags=LIST_FLAGS,
        aliases=("list",),
        examples=(
            "nodeagent network ls --filter driver=bridge --format json",
            "nodeagent network ls --filter dangling=true",
        ),
    ),
    Verb(
        name="rm",
        help="Remove networks that nobody uses",
        run=_rm,
        flags=(*PLAN_FLAGS, switch("force", "A network that is not there is no error", "f")),
        words=several("NETWORK", "network"),
        aliases=("remove",),
        examples=("nodeagent network rm demo", "nodeagent network rm -f demo other"),
    ),
    inspect_verb("network", "NETWORK"),
    Verb(
        name="connect",
        help="Attach a container to a network",
        run=_connect,
        flags=(
            many("alias", "Further name on this network"),
            *PLAN_FLAGS,
            number("gw-priority", "The network with the highest has the default routes"),
            text("ip", "IPv4 address"),
            text("ip6", "IPv6 address"),
            text("mac-address", "MAC address"),
        ),
        words=_PAIR,
        examples=(
            "nodeagent network connect --alias db demo postgres",
            "nodeagent network connect --gw-priority 10 uplink postgres",
        ),
    ),
    Verb(
        name="disconnect",
        help="Detach a container from a network",
        run=_disconnect,
        flags=(*PLAN_FLAGS, switch("force", "Even if the container is gone", "f")),
        words=_PAIR,
        examples=("nodeagent network disconnect demo postgres",),
    ),
    Verb(
        name="prune",
        help="Remove networks without containers",
        run=_prune,
        flags=(FORCE, many("filter", "Only those: label=K[=V], label!=K[=V], until=TIME")),
        examples=(
            "nodeagent network prune -f",
            "nodeagent network prune -f --filter until=24h --filter label!=keep",
        ),
    ),
    Verb(
        name="plan",
        help="Show what a change, or a repair, would do to the kernel; nothing is done",
        run=_plan,
        flags=(FORMAT,),
        words=Words(usage="[create|rm|connect|disconnect|run ARG...]", most=None),
        options_first=True,
        examples=(
            "nodeagent network plan",
            "nodeagent network plan --format json create --subnet 172.30.0.0/16 demo",
            "nodeagent network plan connect demo web",
            "nodeagent network plan run --network demo -p 8080:80 busybox httpd -f",
        ),
    ),
    Verb(
        name="check",
        help="Show what in the kernel is not as wanted; exit code 1 if anything is",
        run=_check,
        flags=(FORMAT,),
        words=_PERHAPS_ONE,
        examples=("nodeagent network check", "nodeagent network check --format json demo"),
    ),
    Verb(
        name="audit",
        help="Show what is ours and nobody's; exit code 1 if anything is",
        run=_audit,
        flags=(FORMAT,),
        examples=("nodeagent network audit", "nodeagent network audit --format json"),
    ),
    Verb(
        name="repair",
        help="Make the kernel agree with what is wanted, now",
        run=_repair,
        flags=(FORMAT,),
        words=_PERHAPS_ONE,
        examples=("nodeagent network repair", "nodeagent network repair demo"),
    ),
)

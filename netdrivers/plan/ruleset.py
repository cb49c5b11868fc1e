"""The fixed text of our nft table. All that varies is in the elements of its sets and maps."""

from typing import Final

OPERATOR_CHAINS: Final = ("operator-before", "operator-after")

# name, type of the set or map; the order is that of the text
SETS: Final = (
    ("bridges", "ifname"),
    ("same", "ifname . ifname"),  # iif . oif of one network
    ("apart", "ifname"),  # whose containers open no connections to each other
    ("internal", "ifname"),
    ("hidden", "nf_proto . ifname"),  # that leave under the host's address
    ("routed", "nf_proto . ifname"),  # that answer at their own addresses: what is published
    ("unprotected", "nf_proto . ifname"),  # the same: everything
    ("trusted", "ifname . ifname"),  # host link that reaches everything . network
    ("open4", "ipv4_addr . inet_proto . inet_service"),  # what a routed network publishes
    ("open6", "ipv6_addr . inet_proto . inet_service"),
    ("private4", "ipv4_addr"),  # the host's addresses that are for containers only
    ("private6", "ipv6_addr"),
    ("direct4", "ifname . ipv4_addr"),  # network whose clients this one answers past the host
    ("direct6", "ifname . ipv6_addr"),
    ("far4", "ipv4_addr"),  # whose answers to strangers take another way than by the host
    ("far6", "ipv6_addr"),
    ("hairpin4", "ipv4_addr . ipv4_addr"),  # an address with itself
    ("hairpin6", "ipv6_addr . ipv6_addr"),
    ("guarded", "nf_proto"),  # families whose forwarding we turned on
)
RETIRED: Final = ("nat",)  # sets of former versions, removed where they are met
MAPS: Final = (
    ("publish4", "ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service"),
    ("publish4any", "inet_proto . inet_service : ipv4_addr . inet_service"),
    ("publish6", "ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service"),
    ("publish6any", "inet_proto . inet_service : ipv6_addr . inet_service"),
)

# chain -> (hook line or "", rules). Filter rules return where others would accept, so that
# operator-after sees everything that is not dropped.
CHAINS: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    (
        "martian",
        "type filter hook prerouting priority raw; policy accept;",
        (
            # route_localnet on our bridges opens 127/8 to neighbours; this closes it again
            'iifname != "lo" ip daddr 127.0.0.0/8 drop',
            'iifname != "lo" ip saddr 127.0.0.0/8 drop',
        ),
    ),
    (
        "input",
        "type filter hook input priority filter; policy accept;",
        (
            "ct state established,related return",
            "iifname @internal fib daddr . iif type unicast drop",
            # what listens on a gateway's address is there for containers; a neighbour that routes
            # a network's subnet to this host is none
            'iifname != "lo" iifname != @bridges ip daddr @private4 drop',
            'iifname != "lo" iifname != @bridges ip6 daddr @private6 drop',
        ),
    ),
    (
        "decide",
        "",
        (
            "ct state established,related return",
            "iifname . oifname @same iifname != @apart return",
            "iifname @internal drop",
            "oifname @internal drop",
            "ct status dnat oifname @bridges return",
            # between two that are apart, where bridged packets pass here, or by the gateway's MAC;
            # answers to what passed go straight, once they have found whom to go to
            "iifname . oifname @same icmpv6 type nd-neighbor-solicit return",
            "iifname . oifname @same icmpv6 type nd-neighbor-advert return",
            "iifname . oifname @same drop",
            "iifname . oifname @trusted return",
            "meta nfproto . oifname @unprotected return",
            "meta nfproto . oifname @routed meta l4proto { icmp, ipv6-icmp } return",
            "ip daddr . meta l4proto . th dport @open4 return",
            "ip6 daddr . meta l4proto . th dport @open6 return",
            "oifname @bridges drop",
            "iifname @bridges return",
            "meta nfproto @guarded drop",
        ),
    ),
    (
        "forward",
        "type filter hook forward priority filter; policy accept;",
        ("jump operator-before", "jump decide", "jump operator-after"),
    ),
    (
        "publish",
        "",
        (
            "dnat ip to ip daddr . meta l4proto . th dport map @publish4",
            "dnat ip to meta l4proto . th dport map @publish4any",
            "dnat ip6 to ip6 daddr . meta l4proto . th dport map @publish6",
            "dnat ip6 to meta l4proto . th dport map @publish6any",
        ),
    ),
    (
        "prerouting",
        "type nat hook prerouting priority dstnat; policy accept;",
        ("meta l4proto { tcp, udp, sctp } fib daddr type local jump publish",),
    ),
    (
        "output",
        "type nat hook output priority -100; policy accept;",
        ("meta l4proto { tcp, udp, sctp } fib daddr type local jump publish",),
    ),
    (
        "postrouting",
        "type nat hook postrouting priority srcnat; policy accept;",
        (
            # where bridged packets pass these hooks (br_netfilter), there is no iifname here, and
            # a bridge answers for all but a container that asks for its own published port
            "ct status dnat ip saddr . ip daddr @hairpin4 masquerade",
            "ct status dnat ip6 saddr . ip6 daddr @hairpin6 masquerade",
            # answers must come back through the host, which alone knows the address asked for
            "ct status dnat ip daddr @far4 masquerade",
            "ct status dnat ip6 daddr @far6 masquerade",
            "ct status dnat iifname . ip daddr @direct4 masquerade",
            "ct status dnat iifname . ip6 daddr @direct6 masquerade",
            # else the host is the way back between networks anyway: the client is seen as it is
            "iifname @bridges oifname @bridges return",
            "meta nfproto . iifname @hidden masquerade",
            "ip saddr 127.0.0.0/8 oifname @bridges masquerade",
        ),
    ),
)


def build_ruleset(table: str) -> str:
    """The commands that create the table, or bring its chains back, in one transaction.

    The operator's chains are added where missing and never flushed.
    """
    lines = [f"add table inet {table}"]
    lines += [f"add chain inet {table} {name}" for name in OPERATOR_CHAINS]
    lines += [f"add set inet {table} {name} {{ type {kind}; }}" for name, kind in SETS]
    lines += [f"add map inet {table} {name} {{ type {kind}; }}" for name, kind in MAPS]
    lines += [f"add chain inet {table} {name} {_hook(hook)}" for name, hook, _ in CHAINS]
    lines += [f"flush chain inet {table} {name}" for name, _, _ in CHAINS]
    lines += [f"add rule inet {table} {name} {rule}" for name, _, rules in CHAINS for rule in rules]
    return "\n".join(lines) + "\n"


def _hook(hook: str) -> str:
    return f"{{ {hook} }}" if hook else ""

"""The fixed text of our nft table. All that varies is in the elements of its sets and maps."""

from typing import Final

OPERATOR_CHAINS: Final = ("operator-before", "operator-after")

# name, type of the set or map; the order is that of the text
SETS: Final = (
    ("bridges", "ifname"),
    ("same", "ifname . ifname"),  # iif . oif of one network
    ("internal", "ifname"),
    ("nat", "ifname"),
    ("hairpin4", "ipv4_addr . ipv4_addr"),  # an address with itself
    ("hairpin6", "ipv6_addr . ipv6_addr"),
    ("guarded", "nf_proto"),  # families whose forwarding we turned on
)
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
        ("iifname @internal fib daddr . iif type unicast drop",),
    ),
    (
        "decide",
        "",
        (
            "ct state established,related return",
            "iifname . oifname @same return",
            "iifname @internal drop",
            "oifname @internal drop",
            "ct status dnat oifname @bridges return",
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
            "iifname . oifname @same ct status dnat masquerade",
            "iifname . oifname @same return",
            "iifname @nat masquerade",
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

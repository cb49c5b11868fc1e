"""Faults to plant on the host of ``two``, and what must be said of each."""

from dataclasses import dataclass

BRIDGE, VETH_A, VETH_B = "br-aaaaaaaaaaaa", "ve0000002a61000", "ve0000003a62000"
CHAIN = "{ type filter hook %s priority %s; }"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something planted, what is asked then, the hop that must be the answer, and its words."""

    plant: str = ""  # on the host
    where: str = ""  # or in this sandbox
    question: tuple = ("a", "10.1.0.3", 80)
    place: str
    says: tuple[str, ...]


def drop(family: str, hook: str, rule: str, priority: str = "0") -> str:
    return (
        f"nft add table {family} foreign; nft 'add chain {family} foreign stop "
        f"{CHAIN % (hook, priority)}'; nft add rule {family} foreign stop {rule} drop"
    )


OUT = ("a", "198.51.100.2")
FAULTS = {
    "link of the pair down": Fault(
        plant=f"ip link set {VETH_B} down", place="veth", says=(VETH_B, "down")
    ),
    "own link of the pair down": Fault(
        plant=f"ip link set {VETH_A} down", place="veth", says=(VETH_A, "down")
    ),
    "interface down": Fault(
        where="b", plant="ip link set eth0 down", place="interface", says=("eth0", "down")
    ),
    "bridge down": Fault(plant=f"ip link set {BRIDGE} down", place="bridge", says=(BRIDGE, "down")),
    "pair gone": Fault(plant=f"ip link del {VETH_B}", place="veth", says=(VETH_B, "gone")),
    "off the bridge": Fault(
        plant=f"ip link set {VETH_B} nomaster", place="veth", says=(VETH_B, "not on bridge")
    ),
    "port of the bridge disabled": Fault(
        plant=f"bridge link set dev {VETH_B} state 0",
        place="veth",
        says=(f"port {VETH_B} is disabled (state 0)",),
    ),
    "own port of the bridge disabled": Fault(
        plant=f"bridge link set dev {VETH_A} state 0",
        place="veth",
        says=(f"port {VETH_A} is disabled (state 0)",),
    ),
    "default route gone": Fault(
        where="a", plant="ip route del default", question=OUT, place="route", says=("no route",)
    ),
    "route of the host leads elsewhere": Fault(
        plant="ip route add 10.1.0.3/32 dev up0",
        question=("", "10.1.0.3", 80),
        place="route",
        says=("by up0", BRIDGE),
    ),
    "someone's policy rule in the source": Fault(
        where="a",
        plant="ip rule add to 198.51.100.2 prohibit",
        question=OUT,
        place="route",
        says=("no route: rule `pref 32765 to 198.51.100.2 prohibit` refuses it",),
    ),
    "someone's route in the source": Fault(
        where="a",
        plant="ip route add blackhole 198.51.100.0/24",
        question=OUT,
        place="route",
        says=("no route: route `blackhole 198.51.100.0/24` refuses it",),
    ),
    "someone's route of IPv6 in the source": Fault(
        where="a",
        plant="ip -6 route add unreachable 2001:db8::2",
        question=("a", "2001:db8::2"),
        place="route",
        says=("no route: route `unreachable 2001:db8::2` refuses it",),
    ),
    "someone's route on the host": Fault(
        plant="ip rule add to 198.51.100.9 table 77; ip route add unreachable default table 77",
        question=("a", "198.51.100.9"),
        place="route",
        says=("no route: route `unreachable default table 77` refuses it",),
    ),
    "address of the source gone": Fault(
        where="a",
        plant="ip addr flush dev eth0",
        place="interface",
        says=("address 10.1.0.2/24 ", "is gone"),
    ),
    "address of the target gone": Fault(
        where="b",
        plant="ip addr del 10.1.0.3/24 dev eth0",
        place="interface",
        says=("10.1.0.3/24 is gone",),
    ),
    "gateway gone": Fault(
        plant=f"ip addr del 10.1.0.1/24 dev {BRIDGE}",
        question=OUT,
        place="bridge",
        says=("10.1.0.1 is gone",),
    ),
    "wrong MAC at the source": Fault(
        where="a",
        plant="ip neigh replace 10.1.0.3 lladdr 02:00:00:00:00:99 dev eth0",
        place="neighbour",
        says=("wrong MAC", "02:00:00:00:00:99", "02:42:00:00:61:03"),
    ),
    "wrong MAC of the gateway": Fault(
        where="a",
        plant="ip neigh replace 10.1.0.1 lladdr 02:00:00:00:00:98 dev eth0",
        question=OUT,
        place="neighbour",
        says=("wrong MAC", "02:00:00:00:00:98", "10.1.0.1"),
    ),
    "wrong MAC at the host": Fault(
        plant=f"ip neigh replace 10.1.0.3 lladdr 02:00:00:00:00:97 dev {BRIDGE}",
        question=("", "10.1.0.3", 80),
        place="neighbour",
        says=("wrong MAC", "02:00:00:00:00:97"),
    ),
    "wrong forwarding entry of the bridge": Fault(
        plant=f"bridge fdb replace 02:42:00:00:61:03 dev {VETH_A} master static sticky",
        place="bridge",
        says=("wrong MAC", f"behind {VETH_A}"),
    ),
    "our rule, by the operator": Fault(
        plant="nft add rule inet nodeagent-test operator-before ip daddr 198.51.100.2 drop",
        question=OUT,
        place="rules",
        says=("operator's rule", "ip daddr 198.51.100.2 drop", "operator-before"),
    ),
    "our rule between networks": Fault(
        question=("a", "10.2.0.2", 80),
        place="isolation",
        says=("kept apart", "oifname @bridges drop", "nodeagent-test"),
    ),
    "someone's rule on the host": Fault(
        plant=drop("ip", "forward", "ip saddr 10.1.0.2"),
        question=OUT,
        place="rules",
        says=("not ours", "ip saddr 10.1.0.2 drop", "table ip foreign"),
    ),
    "someone's policy": Fault(
        plant="nft add table ip foreign; nft 'add chain ip foreign stop "
        "{ type filter hook forward priority 0; policy drop; }'",
        question=OUT,
        place="rules",
        says=("policy drop", "chain stop", "table ip foreign"),
    ),
    "someone's reject on the host": Fault(
        plant=drop("inet", "forward", "tcp dport 80").replace(
            "80 drop", "80 reject with tcp reset"
        ),
        question=("a", "198.51.100.2", 80),
        place="rules",
        says=("reject with tcp reset", "inet foreign"),
    ),
    "someone's rule in the bridge": Fault(
        plant=drop("bridge", "forward", "ip daddr 10.1.0.3"),
        place="rules",
        says=("not ours", "ip daddr 10.1.0.3 drop", "bridge foreign"),
    ),
    "someone's rule at a link": Fault(
        plant=drop("netdev", f"ingress device {VETH_A}", "ip daddr 10.1.0.3"),
        place="rules",
        says=("not ours", "ip daddr 10.1.0.3 drop", "netdev foreign"),
    ),
    "rule in the target": Fault(
        where="b",
        plant=drop("inet", "input", "tcp dport 80"),
        place="rules",
        says=("not ours", "tcp dport 80 drop", "rules of b"),
    ),
    "rule in the target for datagrams": Fault(
        where="b",
        plant=drop("inet", "input", "udp dport 80"),
        question=("a", "10.1.0.3", 80, "udp"),
        place="rules",
        says=("not ours", "udp dport 80 drop"),
    ),
    "rule in the source": Fault(
        where="a",
        plant=drop("ip", "output", "tcp dport 80"),
        place="rules",
        says=("not ours", "tcp dport 80 drop", "rules of a"),
    ),
    "rule against the answer": Fault(
        where="b",
        plant=drop("ip6", "output", "tcp sport 80"),
        question=("a", "fd00:a::3", 80),
        place="way back",
        says=("drops the answer", "tcp sport 80 drop"),
    ),
    "forwarding off": Fault(
        plant="sysctl -qw net.ipv4.ip_forward=0",
        question=OUT,
        place="forwarding",
        says=("net.ipv4.ip_forward = 0",),
    ),
    "forwarding off for one link": Fault(
        plant=f"sysctl -qw net.ipv4.conf.{BRIDGE}.forwarding=0",
        question=OUT,
        place="forwarding",
        says=(f"net.ipv4.conf.{BRIDGE}.forwarding = 0",),
    ),
    "forwarding of IPv6 off": Fault(
        plant="sysctl -qw net.ipv6.conf.all.forwarding=0",
        question=("a", "2001:db8::2"),
        place="forwarding",
        says=("net.ipv6.conf.all.forwarding = 0",),
    ),
    "rp_filter on the host": Fault(
        plant=f"sysctl -qw net.ipv4.conf.{BRIDGE}.rp_filter=1; ip route add 10.1.0.2/32 dev up0",
        question=OUT,
        place="rp_filter",
        says=(f"net.ipv4.conf.{BRIDGE}.rp_filter = 1", "goes by up0"),
    ),
    "rp_filter in the target": Fault(
        where="b",
        plant="sysctl -qw net.ipv4.conf.all.rp_filter=1; ip route add 10.1.0.2/32 dev lo",
        place="rp_filter",
        says=("rp_filter = 1", "goes by lo"),
    ),
    "no listener": Fault(
        question=("a", "10.1.0.3", 81),
        place="listener",
        says=("no listener on 81/tcp", "there is: 80/tcp"),
    ),
    "no listener for datagrams": Fault(
        question=("a", "10.1.0.3", 81, "udp"), place="listener", says=("no listener on 81/udp",)
    ),
    "echo requests ignored": Fault(
        where="b",
        plant="sysctl -qw net.ipv4.icmp_echo_ignore_all=1",
        question=("a", "10.1.0.3"),
        place="listener",
        says=("net.ipv4.icmp_echo_ignore_all = 1",),
    ),
    "MTU black hole at a port": Fault(
        plant=f"ip link set {VETH_B} mtu 1200",
        place="mtu",
        says=("black hole", f"{VETH_B} (MTU 1200)", "1500 bytes"),
    ),
    "isolated network": Fault(
        question=("i", "198.51.100.2"), place="route", says=("no route", "network c is internal")
    ),
    "port not published": Fault(
        question=("a", "198.51.100.1", 9999), place="publish", says=("not published",)
    ),
    "no route back": Fault(
        where="b",
        plant="ip route add blackhole 10.1.0.2/32",
        place="way back",
        says=("no route back: route `blackhole 10.1.0.2` refuses it",),
    ),
    "element of a published port gone": Fault(
        plant="nft flush map inet nodeagent-test publish4",
        question=("a", "198.51.100.1", 8082),
        place="publish",
        says=("element is gone",),
    ),
}

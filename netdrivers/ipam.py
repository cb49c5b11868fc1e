"""Address management: subnets, gateways, addresses and MACs. Pure; the caller knows what is used.

Addresses are chosen by next fit: a freed address comes round last, so that neighbours' caches and
half-dead connections of its former owner have time to go.
"""

from collections.abc import Collection, Iterable, Sequence
from hashlib import sha256
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Final

from netdrivers.contract.specs import IPAddress, IPNetwork
from netdrivers.errors import Exhausted, Invalid

# 256 networks of 254 addresses each in the first pool, then as Docker's, then 10/8's upper half:
# 31 networks a host is what people ran out of
DEFAULT_POOLS: Final = tuple(
    (IPv4Network(base), 24)
    for base in ("172.17.0.0/16", "172.18.0.0/15", "172.20.0.0/14", "172.24.0.0/13", "10.128.0.0/9")
)


def parse_subnet(text: str, *, field: str = "subnet") -> IPNetwork:
    """Read a subnet in CIDR form, without host bits and with room for a gateway and a host."""
    try:
        net = ip_network(text)
    except ValueError as exc:
        raise Invalid(f"not a subnet like 10.1.2.0/24: {exc}", field=field, value=text) from exc
    if "/" not in text or net.prefixlen in {0, net.max_prefixlen}:
        raise Invalid("a subnet needs a prefix length and two addresses", field=field, value=text)
    if net.is_multicast or net.is_loopback or net.network_address.is_unspecified:
        raise Invalid("hosts cannot have addresses of this range", field=field, value=text)
    if net.version == 6 and net.is_link_local:
        raise Invalid(
            "every link has this range; give one of your own, like fd12:3456:789a::/64",
            field=field,
            value=text,
        )
    return net


def parse_range(text: str, *, field: str = "ip_range") -> IPNetwork:
    """Read a part of a subnet in CIDR form; one address is a part, too."""
    try:
        return ip_network(text)
    except ValueError as exc:
        raise Invalid(f"not a range like 10.1.2.0/25: {exc}", field=field, value=text) from exc


def parse_address(text: str, *, field: str = "address") -> IPAddress:
    """Read an address."""
    try:
        return ip_address(text)
    except ValueError as exc:
        raise Invalid("not an IP address", field=field, value=text) from exc


def parse_mac(text: str, *, field: str = "mac") -> str:
    """Read a unicast MAC address; lower case with colons."""
    digits = text.lower().replace("-", ":").split(":")
    if len(digits) != 6 or any(
        len(pair) != 2 or set(pair) - set("0123456789abcdef") for pair in digits
    ):
        raise Invalid("not a MAC address like 02:42:ac:11:00:02", field=field, value=text)
    if int(digits[0], 16) & 1 or set(digits) == {"00"}:
        raise Invalid("a host cannot have this MAC address", field=field, value=text)
    return ":".join(digits)


def mac_for(seed: str) -> str:
    """A locally administered unicast MAC address, the same for the same seed."""
    return "02:" + sha256(seed.encode()).digest()[:5].hex(":")


def check_subnet(
    subnet: IPNetwork,
    *,
    gateway: IPAddress | None = None,
    ip_range: IPNetwork | None = None,
    aux: Collection[IPAddress] = (),
) -> None:
    """Refuse a gateway, range or auxiliary address that does not fit the subnet, or fills it."""
    if ip_range is not None and not contains(subnet, ip_range):
        raise Invalid("the range is not inside the subnet", field="ip_range", value=ip_range)
    for name, address in [("gateway", gateway), *(("aux_addresses", each) for each in aux)]:
        if address is not None and (address not in subnet or address in ends(subnet)):
            raise Invalid("no host address of the subnet", field=name, value=address)
    if gateway is not None and gateway in aux:
        raise Invalid("the gateway cannot be excluded", field="aux_addresses", value=gateway)
    used = {*aux, *([gateway] if gateway is not None else [])}
    try:
        free_address(subnet, pool=ip_range, used=used)
    except Exhausted as exc:
        raise Invalid(
            "no address is left for a container; give a larger one",
            field="subnet" if ip_range is None else "ip_range",
            value=ip_range or subnet,
        ) from exc


def contains(outer: IPNetwork, inner: IPNetwork) -> bool:
    """Whether all of ``inner`` is inside ``outer``; never across families."""
    same = outer.version == inner.version
    return same and int(outer[0]) <= int(inner[0]) and int(inner[-1]) <= int(outer[-1])


def ends(net: IPNetwork) -> tuple[IPAddress, ...]:
    """Addresses no host may have: network and broadcast; none in a /31 or /127 (RFC 3021)."""
    if net.prefixlen >= net.max_prefixlen - 1:
        return ()
    return (net[0], net[-1]) if net.version == 4 else (net[0],)


def gateway(net: IPNetwork) -> IPAddress:
    """The usual gateway: the first host address."""
    return net[1] if ends(net) else net[0]


def host_count(net: IPNetwork) -> int:
    """How many addresses hosts may have, the gateway's included."""
    return net.num_addresses - len(ends(net))


def free_subnet(pools: Sequence[tuple[IPNetwork, int]], *, used: Iterable[IPNetwork]) -> IPNetwork:
    """Pick the first slice of the pools, in order, that overlaps nothing in ``used``.

    Args:
        pools: (base, prefix length of a slice).

    Raises:
        Exhausted: all slices overlap something.
    """
    spans = [(net.version, int(net[0]), int(net[-1])) for net in used]
    for base, prefix_len in pools:
        taken = sorted(span[1:] for span in spans if span[0] == base.version)
        start = _first_gap(base, 1 << (base.max_prefixlen - prefix_len), taken)
        if start is not None:
            return ip_network((start.to_bytes(base.max_prefixlen // 8, "big"), prefix_len))
    raise Exhausted("no subnet is left in the address pools", pools=len(pools))


def _first_gap(base: IPNetwork, size: int, taken: Sequence[tuple[int, int]]) -> int | None:
    """The first multiple of ``size`` in ``base`` clear of the sorted spans."""
    start, last = int(base[0]), int(base[-1])
    for first, end in taken:
        if end >= start and first < start + size:
            start = (end // size + 1) * size
    return start if start + size - 1 <= last else None


def free_address(
    subnet: IPNetwork,
    *,
    used: Collection[IPAddress],
    pool: IPNetwork | None = None,
    after: IPAddress | None = None,
) -> IPAddress:
    """Pick the next free address after ``after`` in ``pool``, round the end if need be.

    Args:
        used: a set, gateway included; network and broadcast are never chosen.

    Raises:
        Exhausted: none is free.
    """
    pool = subnet if pool is None else pool
    taken = {int(each) for each in (*used, *ends(subnet)) if each in pool}
    first, count = int(pool[0]), pool.num_addresses
    begin = int(after) + 1 - first if after is not None and after in pool else 0
    # one of any len(taken) + 1 addresses in a row is free
    for step in range(min(count, len(taken) + 1)):
        number = first + (begin + step) % count
        if number not in taken:
            return type(pool[0])(number)
    raise Exhausted("no address is left", subnet=subnet, pool=pool, used=len(taken))

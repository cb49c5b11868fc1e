"""Subnets of ``network create``, and those of its flags in Docker that ask for nothing here."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from nodeagent.cli.grammar import UsageError, Values, many, switch, text

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

SWARM_FLAGS: Final = (
    switch("attachable", "Accepted: containers may join every network"),
    switch("config-only", "Not supported"),
    text("config-from", "Not supported"),
    text("ipam-driver", "Only: default", default="default"),
    many("ipam-opt", "Not supported"),
    text("scope", "Only: local", default="local"),
)


def check_swarm_flags(values: Values) -> None:
    """Accept what changes nothing; refuse what would be expected to (UsageError)."""
    for flag, only in (("ipam-driver", "default"), ("scope", "local")):
        if values.text(flag) != only:
            raise UsageError(f"--{flag}: {values.text(flag)} is not supported, only {only}")
    if values.list("ipam-opt"):
        raise UsageError("--ipam-opt: the default IPAM driver takes no options; leave it out")
    if values.is_on("config-only") or values.text("config-from"):
        raise UsageError("--config-only, --config-from: not supported; name all of it at create")


def build_subnets(
    subnets: Sequence[str], gateways: Sequence[str], ranges: Sequence[str], others: Sequence[str]
) -> list[dict[str, object]]:
    """Put each gateway, range and reserved ``NAME=IP`` to the subnet it lies in.

    Raises:
        UsageError: one lies in no subnet, is no address, or there are two for one subnet.
    """
    made: list[dict[str, object]] = [{"subnet": each} for each in subnets]
    reserved: list[dict[str, str]] = [{} for _ in subnets]
    for flag, field, items in (("gateway", "gateway", gateways), ("ip-range", "ip_range", ranges)):
        for words in items:
            if made[_place(flag, words, subnets)].setdefault(field, words) != words:
                raise UsageError(f"--{flag}: {words} is the second for its subnet")
    for item in others:
        name, _, words = item.partition("=")
        if not name or not words:
            raise UsageError(f"--aux-address: {item!r} is not NAME=IP; write nas=172.30.0.9")
        if reserved[_place("aux-address", words, subnets)].setdefault(name, words) != words:
            raise UsageError(f"--aux-address: {name} is there twice in one subnet")
    return [{**net, **_named(names)} for net, names in zip(made, reserved, strict=True)]


def _place(flag: str, words: str, subnets: Sequence[str]) -> int:
    """The number of the subnet that ``words`` lies in."""
    first = _net(flag, words).network_address
    for n, subnet in enumerate(subnets):
        if first in _net("subnet", subnet):
            return n
    raise UsageError(f"--{flag}: {words} lies in no --subnet; add one that holds it")


def _net(flag: str, words: str) -> "IPv4Network | IPv6Network":
    import ipaddress

    try:
        return ipaddress.ip_network(words)
    except ValueError as exc:
        raise UsageError(f"--{flag}: {exc}; write for instance 172.30.0.0/16") from exc


def _named(names: dict[str, str]) -> dict[str, object]:
    return {"aux_addresses": names} if names else {}

"""How two ports of one bridge are kept apart on this host.

A bridge passes nothing between two isolated ports (Linux 4.18). Where br_netfilter sends bridged
packets through the hooks of inet tables, our table keeps them apart, and the ports must not be
isolated: there a packet for a neighbour's published port is translated while it is bridged, and
would not arrive.
"""

from typing import Final

from netdrivers.kernel.access import Access
from netdrivers.kernel.codec import LinkInfo
from netdrivers.kernel.sysctl import read_sysctl
from netdrivers.plan.diff import State
from netdrivers.plan.objects import Veth

HOOKED: Final = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")


def is_isolated(access: Access, veth: Veth) -> bool:
    """Whether the port of the pair is to be isolated."""
    return veth.apart and not _pass_hooks(access)


def find_apart(access: Access, want: State, host: LinkInfo) -> bool:
    """Whether the port is kept apart, as far as that is the port's part of it."""
    wanted = want.get(("link", "", host.name))
    if isinstance(wanted, Veth) and wanted.apart:
        return host.isolated is is_isolated(access, wanted)
    return host.isolated


def _pass_hooks(access: Access) -> bool:
    with access.namespaces.inside(access.namespaces.home):
        return all(read_sysctl(name) == "1" for name in HOOKED)

"""Overlays: a bridge on each host, joined by VXLAN. What a bridge network can, an overlay can.

The bridge has the same gateway address and MAC address on every host, so a container finds its
gateway on its own host, wherever it runs. Nothing is learnt and nothing is flooded: the agent
writes an entry for every endpoint of another host, and the tunnel answers ARP and ND from them.

Not a namespace of its own for each network, as Docker has: the bridge is in the agent's namespace
like any other, so ports, masquerading, isolation, repair and explain are those of bridges. What is
in a namespace of its own is the encrypted way out, see ``netdrivers.encryption``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import ClassVar, Final

from netdrivers.bridge import BOOL, BridgeDriver, link_name
from netdrivers.contract.options import ENCRYPTED, MULTICAST
from netdrivers.contract.specs import EndpointSpec, NetworkSpec, OverlaySpec
from netdrivers.errors import Invalid
from netdrivers.plan.objects import KernelObject
from netdrivers.plan.tunnels import EVERYBODY, FdbEntry, Neighbour, Vxlan

_OWN: Final = (ENCRYPTED, MULTICAST)


class OverlayDriver:
    """Containers of several hosts on one layer 2."""

    name: ClassVar[str] = "overlay"
    on_wire: ClassVar[bool] = False

    def __init__(self) -> None:
        self._bridge = BridgeDriver()

    def check(self, net: NetworkSpec) -> None:
        """Refuse what an overlay cannot do (Invalid names the option)."""
        for option in _OWN:
            if net.options.get(option, "true") not in {*BOOL, ""}:
                raise Invalid(
                    "option must be true or false", option=option, value=net.options[option]
                )
        self._bridge.check(_as_bridge(net))

    def network(self, net: NetworkSpec) -> Iterable[KernelObject]:
        """The bridge, the tunnel on it, and where endpoints of other hosts are."""
        yield from self._bridge.network(_as_bridge(net))
        if net.overlay is None:
            return
        vxlan = _vxlan(net, net.overlay)
        yield vxlan
        yield from _entries(vxlan, net.overlay)

    def endpoint(self, net: NetworkSpec, ep: EndpointSpec) -> Iterable[KernelObject]:
        """As on a bridge."""
        return self._bridge.endpoint(_as_bridge(net), ep)


def _as_bridge(net: NetworkSpec) -> NetworkSpec:
    options = {key: value for key, value in net.options.items() if key not in _OWN}
    return replace(net, options=options)


def _vxlan(net: NetworkSpec, overlay: OverlaySpec) -> Vxlan:
    return Vxlan(
        name=f"vx-{net.id[:12]}",
        owner=net.id,
        bridge=link_name(net),
        vni=overlay.vni,
        local=overlay.vtep,
        port=overlay.port,
        mtu_bytes=net.mtu_bytes,
        sealed=overlay.sealed,
    )


def _entries(vxlan: Vxlan, overlay: OverlaySpec) -> Iterator[KernelObject]:
    link, owner = vxlan.name, vxlan.owner
    for remote in overlay.remotes:
        mac = remote.mac.lower()
        yield FdbEntry(link=link, mac=mac, vtep=remote.vtep, owner=owner)
        for ip in remote.addresses:
            yield Neighbour(link=link, ip=ip, mac=mac, owner=owner)
    if overlay.multicast:
        for vtep in dict.fromkeys(remote.vtep for remote in overlay.remotes):
            yield FdbEntry(link=link, mac=EVERYBODY, vtep=vtep, owner=owner)

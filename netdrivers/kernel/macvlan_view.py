"""What is in the kernel of macvlans, the links they hang on and the host's routes to them."""

from collections.abc import Iterable, Iterator, Mapping

from netdrivers.kernel import codec, ipcodec
from netdrivers.kernel.access import Access
from netdrivers.kernel.codec import LinkInfo
from netdrivers.kernel.ipcodec import RouteInfo
from netdrivers.plan.diff import State
from netdrivers.plan.objects import Address, KernelObject, Macvlan, Parent, ParentKind, Route

KINDS: Mapping[str, ParentKind] = {"vlan": "vlan", "dummy": "dummy"}
MODES = {number: name for name, number in codec.MODES.items()}


def names_at_home(want: State) -> set[str]:
    """Links of the agent's namespace that the wanted macvlans have to do with."""
    names = set()
    for obj in want.values():
        if isinstance(obj, Parent):
            names |= {obj.name, obj.lower}
        elif isinstance(obj, Macvlan):
            names |= {obj.parent} if obj.ns else {obj.parent, obj.name}
    return names - {""}


def find_parents(
    access: Access,
    want: State,
    links: Mapping[str, LinkInfo],
    networks: frozenset[str] | None,
) -> Iterator[Parent]:
    """Those of ours in view, and wanted ones of the operator's."""
    names = {link.index: link.name for link in links.values()}
    for link in links.values():
        owner, wanted = access.object_id(link.alias), want.get(("parent", link.name))
        if owner and link.kind in KINDS:
            if wanted or networks is None or owner in networks:
                yield Parent(
                    name=link.name,
                    owner=owner,
                    kind=KINDS[link.kind],
                    lower=names.get(link.peer, ""),
                    vlan_id=link.vlan_id,
                    up=link.up,
                )
        elif isinstance(wanted, Parent):
            yield wanted


def find_macvlan(
    want: State, link: LinkInfo, links: Mapping[str, LinkInfo], *, ns: str, owner: str, mark: str
) -> Macvlan:
    """One macvlan of ours as it is; the parent's MTU reads 0 where that is wanted."""
    parent = next((each for each in links.values() if each.index == link.peer), None)
    wanted = want.get(("link", ns, link.name))
    follows = isinstance(wanted, Macvlan) and not wanted.mtu_bytes
    return Macvlan(
        ns=ns,
        name=link.name,
        owner=owner,
        mark=mark,
        parent=parent.name if parent else "",
        mode=MODES.get(link.mode, ""),
        mac=link.mac,
        mtu_bytes=0
        if follows and parent and parent.mtu_bytes == link.mtu_bytes
        else link.mtu_bytes,
        ipv6=link.ipv6,
        up=link.up,
    )


def is_half_made(obj: Macvlan, link: LinkInfo, links: Mapping[str, LinkInfo]) -> bool:
    """Whether an unmarked link of a sandbox is this one, killed before it got its mark.

    Nobody inside can make a macvlan of a link outside, and the MAC is of our choice.
    """
    parent = links.get(obj.parent)
    ours = link.mac == obj.mac or obj.mode == "passthru"
    return link.kind == "macvlan" and parent is not None and link.peer == parent.index and ours


def find_routes(
    access: Access, want: State, objects: Iterable[KernelObject], *, everything: bool
) -> Iterator[Route]:
    """The host's routes to macvlans in view; ``everything`` takes those to nobody, too."""
    found = list(objects)
    inside = {obj.ns for obj in found if isinstance(obj, Macvlan) and obj.ns}
    owners = {
        str(obj.ip.ip): obj.owner for obj in found if isinstance(obj, Address) and obj.ns in inside
    }
    wanted = [obj for obj in want.values() if isinstance(obj, Route) and not obj.ns]
    owners |= {str(obj.to.network_address): obj.owner for obj in wanted}
    if not owners and not any(isinstance(obj, Macvlan) for obj in found):
        return
    for link, route in _our_routes(access):
        owner = owners.get(str(route.to.network_address), "?" if everything else "")
        if owner and route.to.prefixlen == route.to.max_prefixlen:
            yield Route(ns="", to=route.to, via=route.via, link=link, owner=owner)


def _our_routes(access: Access) -> Iterator[tuple[str, RouteInfo]]:
    netlink = access.host.route
    routes = [
        ipcodec.parse_route(body)
        for version in (4, 6)
        for _, body in netlink.dump(ipcodec.dump_routes_of(version))
    ]
    indexes = sorted({route.index for route in routes if route.protocol == ipcodec.OUR_PROTOCOL})
    names = {}
    for reply in netlink.ask([codec.get_link_at(index) for index in indexes]):
        for _, body in reply.messages:
            link = codec.parse_link(body)
            if access.object_id(link.alias) and link.kind == "macvlan":
                names[link.index] = link.name
    yield from ((names[route.index], route) for route in routes if route.index in names)

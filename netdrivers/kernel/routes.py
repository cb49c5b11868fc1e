"""Routes of the host that are none of ours: of every table, for address management to avoid."""

from ipaddress import IPv6Network
from typing import Final

from netdrivers.contract.specs import HostRoute, IPNetwork
from netdrivers.kernel import codec, ipcodec
from netdrivers.kernel.access import Access

# every link has them
EVERYWHERE: Final = (IPv6Network("fe80::/10"), IPv6Network("ff00::/8"))


def read_routes(access: Access) -> list[HostRoute]:
    """Destinations of routes and addresses; default routes and those of our links left out."""
    netlink = access.host.route
    routes = [
        ipcodec.parse_route(body)
        for version in (4, 6)
        for _, body in netlink.dump(ipcodec.dump_routes(version))
    ]
    routes = [each for each in routes if each.to.prefixlen and not _is_everywhere(each.to)]
    indexes = sorted({each.index for each in routes} - {0})  # 0: a route of several links, or none
    names, ours = {0: ""}, set()
    for reply in netlink.ask([codec.get_link_at(index) for index in indexes]):
        for _, body in reply.messages:
            link = codec.parse_link(body)
            names[link.index] = link.name
            if access.object_id(link.alias):
                ours.add(link.index)
    found = {
        HostRoute(to=each.to, link=names.get(each.index, ""))
        for each in routes
        if each.index not in ours
    }
    return sorted(found, key=lambda each: (each.to.version, each.to, each.link))


def _is_everywhere(net: IPNetwork) -> bool:
    return isinstance(net, IPv6Network) and any(net.subnet_of(each) for each in EVERYWHERE)

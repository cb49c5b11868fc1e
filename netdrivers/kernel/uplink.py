"""The link by which the agent's namespace reaches the world."""

from netdrivers.kernel import codec, ipcodec
from netdrivers.kernel.access import Access


def read_uplink_mtu(access: Access) -> int:
    """MTU of the link of the default route, IPv4's before IPv6's; 0 without such a route.

    Of several the kernel lists the one that it takes first.
    """
    netlink = access.host.route
    for version in (4, 6):
        for _, body in netlink.dump(ipcodec.dump_routes(version)):
            route = ipcodec.parse_route(body)
            leads_on = route.protocol and route.index and route.table == ipcodec.RT_TABLE_MAIN
            if route.to.prefixlen or not leads_on:
                continue
            for reply in netlink.ask([codec.get_link_at(route.index)]):
                for _, found in reply.messages:
                    return codec.parse_link(found).mtu_bytes
    return 0

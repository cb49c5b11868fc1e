"""Steps into the kernel: neighbours of one kind go in one batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from netdrivers.errors import Missing, Refused
from netdrivers.kernel import codec, dnsredirect, ipcodec, nfcodec
from netdrivers.kernel.access import Access, Way
from netdrivers.kernel.asking import (
    GONE,
    ask_links,
    check,
    create,
    forgiven,
)
from netdrivers.kernel.bridged import is_isolated
from netdrivers.kernel.codec import LinkChange, Request, settable_mode
from netdrivers.kernel.flows import forget_flows
from netdrivers.kernel.forwarding import (
    FORWARD_SYSCTL,
    guard_of,
    is_noted,
    remove_note,
    write_note,
)
from netdrivers.kernel.ipcodec import RouteInfo
from netdrivers.kernel.macvlans import change_lower
from netdrivers.kernel.stamp import build_stamp
from netdrivers.kernel.sysctl import read_sysctl, set_link_sysctl, set_sysctl
from netdrivers.kernel.table import dump_elements, list_table
from netdrivers.kernel.vxlans import change_entries, change_vxlan
from netdrivers.plan.objects import (
    Address,
    Bridge,
    DnsRedirect,
    Element,
    Forwarding,
    Macvlan,
    Parent,
    Route,
    Sandbox,
    Sysctl,
    Table,
    Veth,
)
from netdrivers.plan.ops import Op
from netdrivers.plan.render import render_op
from netdrivers.plan.ruleset import RETIRED, build_ruleset
from netdrivers.plan.tunnels import FdbEntry, Neighbour, Vxlan

TRANSACTION: Final = 512  # elements; 200 bytes each, and a socket takes 208 KiB in one write


@dataclass(frozen=True, slots=True)
class Changer:
    """Carries out ops in the order given. Blocks: the kernel's lock may be held by others."""

    access: Access

    def change(self, ops: Sequence[Op], done: list[Op]) -> None:
        """Do all ops; each that is done is added to ``done``.

        Raises:
            Refused: the kernel said no to an op; later ones of another kind were not tried.
        """
        for _, group in groupby(ops, key=lambda op: (type(op.obj), op.verb)):
            self._group(list(group), done)

    def _group(self, ops: Sequence[Op], done: list[Op]) -> None:
        if isinstance(ops[0].obj, Element):
            for at in range(0, len(ops), TRANSACTION):
                part = ops[at : at + TRANSACTION]
                self._elements(part)
                done += part
            self._forget(ops)
            return
        if isinstance(ops[0].obj, Address | Route):
            self._addressing(ops, done)
            return
        if isinstance(ops[0].obj, FdbEntry | Neighbour):
            change_entries(self.access, ops, done)
            return
        for op in ops:
            self._one(op)
            done.append(op)

    def _one(self, op: Op) -> None:
        match op.obj:
            case Table():
                self._table(op)
            case Sandbox():
                self._sandbox(op, op.obj)
            case Forwarding():
                self._forwarding(op, op.obj)
            case Bridge() | Veth() | Macvlan() | Parent() | Vxlan() if op.verb == "delete":
                return  # a link of the operator's stays; ours went before they came here
            case Bridge():
                self._bridge(op, op.obj)
            case Veth():
                self._veth(op, op.obj)
            case Parent() | Macvlan() | Vxlan():
                self._lower(op, op.obj)
            case Sysctl():
                self._sysctl(op, op.obj)
            case DnsRedirect():
                self._redirect(op, op.obj)
            case _:
                raise Refused("no way to do this", op=render_op(op))

    def _lower(self, op: Op, obj: Parent | Macvlan | Vxlan) -> None:
        if isinstance(obj, Vxlan):
            change_vxlan(self.access, op, obj)
        else:
            change_lower(self.access, op, obj)

    # --- table, forwarding, elements --------------------------------------------------------

    def _table(self, op: Op) -> None:
        table = self.access.table
        if op.verb == "delete":
            self.access.nft.run(f"delete table inet {table}")
            return
        was = list_table(self.access)
        self.access.nft.run(build_ruleset(table))
        retired = [name for name in RETIRED if f"set {name} {{" in was]
        self.access.nft.run("".join(f"delete set inet {table} {name}\n" for name in retired))
        stale = [word for word in was.split() if word[:6] == "stamp-"]
        stamp = build_stamp(list_table(self.access))
        lines = [f"delete chain inet {table} {name}" for name in stale if name != stamp]
        self.access.nft.run("\n".join([*lines, f"add chain inet {table} {stamp}", ""]))

    def _forwarding(self, op: Op, obj: Forwarding) -> None:
        sysctl, guard = FORWARD_SYSCTL[obj.family], guard_of(obj.family)
        with self.access.namespaces.inside(self.access.namespaces.home):
            if op.verb == "delete":
                set_sysctl(sysctl, "0")
                self._elements([Op(verb="delete", obj=guard)])
                remove_note(self.access, obj.family)
                return
            off = read_sysctl(sysctl) != "1"
            if not off and not is_noted(self.access, obj.family):
                return  # the operator's: nothing is newly forwarded
            write_note(self.access, obj.family)
            # the guard first: foreign traffic that was not forwarded must not begin to be
            self._elements([Op(verb="add", obj=guard)])
            if off and obj.family == "ipv6":
                self._keep_routers()
            if off:
                set_sysctl(sysctl, "1")

    def _keep_routers(self) -> None:
        """A host that forwards stops hearing routers: links that have a route by one go on."""
        netlink = self.access.host.route
        routes = [ipcodec.parse_route(body) for _, body in netlink.dump(ipcodec.dump_routes(6))]
        heard = {route.index for route in routes if route.protocol == ipcodec.ROUTER_PROTOCOL}
        for _, body in netlink.dump(codec.dump_links()) if heard else ():
            link = codec.parse_link(body)
            if link.index in heard:
                set_link_sysctl(link.name, "accept_ra", "2")

    def _elements(self, ops: Sequence[Op]) -> None:
        requests = nfcodec.batch(self._element_requests(ops))
        replies = self.access.host.filter.exchange(requests)[1:-1]
        failed = [reply for reply in replies if reply.errno]
        if failed and ops[0].verb == "delete" and all(reply.errno in GONE for reply in failed):
            self._remaining(ops)
        elif failed:
            raise Refused(f"change elements: {failed[0].text}", op=render_op(ops[0]))

    def _forget(self, ops: Sequence[Op]) -> None:
        """End flows of ports that lead elsewhere now."""
        stale = (op.obj if op.verb == "delete" else op.was for op in ops)
        published = (each for each in stale if isinstance(each, Element) and each.value)
        forget_flows(self.access.host.filter, published)

    def _remaining(self, ops: Sequence[Op]) -> None:
        left = {element.key for element in dump_elements(self.access)}
        ops = [op for op in ops if op.obj.key in left]
        if ops:
            check(self.access.host.filter, nfcodec.batch(self._element_requests(ops)), ops[0])

    def _element_requests(self, ops: Sequence[Op]) -> list[Request]:
        gone = [op.was for op in ops if isinstance(op.was, Element)]
        obj = [(op.verb, op.obj) for op in ops if isinstance(op.obj, Element)]
        gone += [each for verb, each in obj if verb == "delete"]
        come = [each for verb, each in obj if verb != "delete"]
        table = self.access.table
        return [*nfcodec.delete_elements(table, gone), *nfcodec.add_elements(table, come)]

    # --- namespaces and links ---------------------------------------------------------------

    def _sandbox(self, op: Op, obj: Sandbox) -> None:
        pin = self.access.pin(obj.id)
        if op.verb == "delete":
            self.access.forget(obj.id)
            self.access.namespaces.remove(pin)
            return
        lost = self.access.lost(obj.id)
        if lost is not None:
            self.access.namespaces.pin(lost.fd, pin)  # the container is in that one
        elif self.access.way(obj.id) is None:
            self.access.namespaces.create(pin)
        up = codec.set_link("lo", LinkChange(up=True))
        check(self._way(obj.id).route, up, op)

    def _bridge(self, op: Op, obj: Bridge) -> None:
        route = self.access.host.route
        alias, mtu = self.access.alias(obj.owner), obj.mtu_bytes
        mode = settable_mode(obj.ipv6, mtu)
        change = LinkChange(alias=alias, mac=obj.mac, mtu_bytes=mtu, ipv6=mode, up=obj.up)
        requests = codec.set_link(obj.name, change)
        if op.verb == "add":
            create(route, [codec.add_bridge(obj.name, mac=obj.mac), *requests], obj.name, op)
        else:
            check(route, requests, op)

    def _veth(self, op: Op, obj: Veth) -> None:
        was = op.was
        if op.verb == "add":
            self._add_veth(op, obj)
        elif isinstance(was, Veth) and _pair(was) == _pair(obj):
            self._set_veth(op, obj)
        else:
            self.access.host.route.ask([codec.delete_link(obj.name)])
            if isinstance(was, Veth) and was.lone == "sandbox":
                # the other end goes with it, wherever that is
                self._way(was.owner).route.ask([codec.delete_link(was.interface)])
            self._add_veth(op, obj)

    def _add_veth(self, op: Op, obj: Veth) -> None:
        host, inside = self.access.host.route, self._way(obj.owner)
        alias, master = self.access.alias(obj.endpoint), self._index("", obj.bridge)
        made = codec.add_veth(
            obj.name,
            peer=obj.interface,
            peer_ns=inside.fd,
            mac=obj.mac,
            mtu_bytes=obj.mtu_bytes,
        )
        change = replace(self._port(obj), alias=alias, master=master)
        create(host, [made, *codec.set_link(obj.name, change)], obj.name, op)
        mode = settable_mode(obj.ipv6, obj.mtu_bytes)
        inner = codec.set_link(obj.interface, LinkChange(alias=alias, ipv6=mode, up=obj.up))
        try:
            check(inside.route, inner, op)
        except Refused:
            host.ask([codec.delete_link(obj.name)])
            raise

    def _set_veth(self, op: Op, obj: Veth) -> None:
        mtu, master = obj.mtu_bytes, self._index("", obj.bridge)
        reopen = isinstance(op.was, Veth) and op.was.shut
        outer = replace(self._port(obj), mtu_bytes=mtu, master=master, reopen=reopen)
        mode = settable_mode(obj.ipv6, mtu)
        inner = LinkChange(mac=obj.mac, mtu_bytes=mtu, ipv6=mode, up=obj.up)
        check(self.access.host.route, codec.set_link(obj.name, outer), op)
        check(self._way(obj.owner).route, codec.set_link(obj.interface, inner), op)

    def _port(self, obj: Veth) -> LinkChange:
        isolated = is_isolated(self.access, obj)
        mode = settable_mode(False, obj.mtu_bytes)
        return LinkChange(ipv6=mode, up=obj.up, hairpin=obj.hairpin, isolated=isolated)

    # --- what goes onto links ---------------------------------------------------------------

    def _addressing(self, ops: Sequence[Op], done: list[Op]) -> None:
        for ns, group in groupby(ops, key=lambda op: _ns(op)):
            todo = list(group)
            way = self.access.way(ns)
            if way is None and todo[0].verb == "delete":
                done += todo
                continue
            links = {op.obj.link for op in todo if isinstance(op.obj, Address | Route)}
            indexes = {link.name: link.index for link in ask_links(self._way(ns), sorted(links))}
            requests = [list(_address_requests(op, indexes)) for op in todo]
            self._send(self._way(ns), todo, requests, done)

    def _send(
        self, way: Way, ops: Sequence[Op], requests: Sequence[Sequence[Request]], done: list[Op]
    ) -> None:
        replies = iter(way.route.ask([request for each in requests for request in each]))
        failed: list[Refused] = []
        for op, each in zip(ops, requests, strict=True):
            answers = [next(replies) for _ in each]
            bad = [one for one in answers if one.errno and not forgiven(op, one.errno)]
            if bad:
                failed.append(Refused(f"the kernel refused: {bad[0].text}", op=render_op(op)))
            else:
                done.append(op)
        if failed:
            raise failed[0]

    def _sysctl(self, op: Op, obj: Sysctl) -> None:
        if op.verb == "delete":
            return  # the value goes with its link or namespace
        with self.access.namespaces.inside(self._way(obj.ns).fd):
            set_sysctl(obj.name, obj.value)

    def _redirect(self, op: Op, obj: DnsRedirect) -> None:
        way = self._way(obj.ns)
        requests = [] if op.verb == "add" else [dnsredirect.delete()]
        requests += [] if op.verb == "delete" else dnsredirect.add(obj.port)
        check(way.filter, nfcodec.batch(requests), op)

    def _way(self, ns: str) -> Way:
        way = self.access.way(ns)
        if way is None:
            raise Missing("the sandbox has no namespace", sandbox=ns)
        return way

    def _index(self, ns: str, name: str) -> int:
        for link in ask_links(self._way(ns), [name]):
            return link.index
        raise Missing("no such link", link=name)


def _address_requests(op: Op, indexes: dict[str, int]) -> Iterator[Request]:
    """A change is a deletion and an addition; without its link an object is gone already."""
    for verb, obj in (("delete", op.was), (op.verb, op.obj)):
        if not isinstance(obj, Address | Route):
            continue
        index = indexes.get(obj.link, 0)
        if isinstance(obj, Address):
            yield _address_request(verb, obj, index)
        else:
            yield _route_request(verb, obj, index)


def _address_request(verb: str, obj: Address, index: int) -> Request:
    if verb == "delete":
        return ipcodec.delete_address(index, obj.ip)
    return ipcodec.add_address(index, obj.ip, dad=obj.dad)


def _route_request(verb: str, obj: Route, index: int) -> Request:
    info = RouteInfo(
        to=obj.to,
        via=obj.via,
        index=index,
        table=ipcodec.RT_TABLE_MAIN,
        protocol=ipcodec.OUR_PROTOCOL,
    )
    if verb == "delete":
        return ipcodec.delete_route(info)
    # in a sandbox the place is ours, in the host's namespace it may be the operator's
    return ipcodec.add_route(info, replace=bool(obj.ns))


def _pair(veth: Veth) -> tuple[str, ...]:
    return (veth.name, veth.owner, veth.endpoint, veth.interface, veth.lone)


def _ns(op: Op) -> str:
    return op.obj.ns if isinstance(op.obj, Address | Route) else ""

"""What is in the kernel and bears our mark, for one scope or for all of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from netdrivers.errors import Refused
from netdrivers.kernel import codec, nfcodec
from netdrivers.kernel.access import Access, Way
from netdrivers.kernel.asking import ask_links
from netdrivers.kernel.bridged import find_apart
from netdrivers.kernel.codec import AddressInfo, LinkInfo
from netdrivers.kernel.macvlan_view import (
    find_macvlan,
    find_parents,
    find_routes,
    is_half_made,
    names_at_home,
)
from netdrivers.kernel.netlink import Reply
from netdrivers.kernel.parents import find_lacking, find_usable
from netdrivers.kernel.stamp import build_stamp, operator_rules
from netdrivers.kernel.sysctl import read_sysctl
from netdrivers.plan.diff import State, build_state
from netdrivers.plan.objects import (
    Address,
    Bridge,
    DnsRedirect,
    Element,
    Forwarding,
    KernelObject,
    Key,
    Macvlan,
    Parent,
    Route,
    Sandbox,
    Sysctl,
    Table,
    Veth,
)

FORWARD_SYSCTL: Mapping[str, str] = {
    "ipv4": "net.ipv4.ip_forward",
    "ipv6": "net.ipv6.conf.all.forwarding",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What to look at. ``want``: objects in scope; None for a set means all of that kind."""

    want: State
    networks: frozenset[str] | None = None
    sandboxes: frozenset[str] | None = None
    elements: tuple[Element, ...] = ()  # that may be there, besides the wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Objects of ours in the view, and what is in the way of wanted ones, in words.

    ``lacking``: links of the operator's that wanted objects hang on and cannot, with the reason;
    ``usable``: what could be named instead. ``doubled``: addresses of ours
    that a neighbour has, too, in words.
    """

    objects: dict[Key, KernelObject]
    foreign: tuple[str, ...] = ()
    lacking: Mapping[str, str] = field(default_factory=dict)
    usable: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()


@dataclass(slots=True)
class Reader:
    """One snapshot being taken."""

    access: Access
    view: View
    objects: list[KernelObject] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    def host_links(self) -> dict[str, LinkInfo]:
        """Links of the agent's namespace that the view needs, by name."""
        if self._whole_host():
            links = list(dump_links(self.access))
        else:
            names = {obj.name for obj in self.view.want.values() if isinstance(obj, Bridge | Veth)}
            names |= {obj.bridge for obj in self.view.want.values() if isinstance(obj, Veth)}
            names |= names_at_home(self.view.want)
            links = list(ask_links(self.access.host, sorted(names)))
        return {link.name: link for link in links}

    def _whole_host(self) -> bool:
        # a network that is to go may have any bridge name: only its mark tells
        networks = self.view.networks
        kinds = (Bridge, Parent)
        wanted = {obj.owner for obj in self.view.want.values() if isinstance(obj, kinds)}
        return networks is None or bool(networks - wanted)

    def bridges(self, links: Mapping[str, LinkInfo]) -> None:
        """Bridges and macvlans in view, their addresses, and strangers that bear a wanted name."""
        for link in links.values():
            owner = self.access.object_id(link.alias)
            if ("link", "", link.name) in self.view.want and not owner:
                self.foreign.append(f"link {link.name} is not ours")
            if not owner or not _in(owner, self.view.networks):
                continue
            if link.kind == "bridge":
                self.objects.append(_bridge(link, owner))
            elif link.kind == "macvlan":
                self.objects.append(
                    find_macvlan(self.view.want, link, links, ns="", owner=owner, mark=owner)
                )
            else:
                continue
            self._addresses(self.access.host, {link.index: link.name}, "", owner)

    def sandbox(self, sandbox: str, links: Mapping[str, LinkInfo]) -> set[str]:
        """One sandbox and all in it; the names of the host ends that lead there."""
        way = self.access.way(sandbox)
        if way is None:
            if self.access.pin(sandbox).exists() and ("sandbox", sandbox) not in self.view.want:
                self.objects.append(Sandbox(id=sandbox, loopback_up=False))
            return set()
        inner = [codec.parse_link(body) for _, body in way.route.dump(codec.dump_links())]
        self._strangers(sandbox, inner, links)
        up = any(link.name == "lo" and link.up for link in inner)
        self.objects.append(Sandbox(id=sandbox, loopback_up=up))
        ours = {link.index: link for link in inner if self.access.object_id(link.alias)}
        if ours:
            names = {index: link.name for index, link in ours.items()}
            self._addresses(way, names, sandbox, sandbox)
            self.objects += _routes(way, names, sandbox)
        self._redirect(way, sandbox)
        for link in ours.values():
            if link.kind == "macvlan":
                mark = self.access.object_id(link.alias)
                self.objects.append(
                    find_macvlan(self.view.want, link, links, ns=sandbox, owner=sandbox, mark=mark)
                )
        pairs = [link for link in ours.values() if link.kind == "veth"]
        return self._veths(sandbox, pairs, links)

    def _addresses(self, way: Way, names: Mapping[int, str], ns: str, owner: str) -> None:
        for info in _our_addresses(way, names):
            link = names[info.index]
            dad = info.ip.version == 6 and not info.flags & codec.IFA_F_NODAD
            self.objects.append(Address(ns=ns, link=link, ip=info.ip, owner=owner, dad=dad))
            if info.flags & codec.IFA_F_DADFAILED:
                where = f"in sandbox {ns}" if ns else f"of network {owner}"
                self.doubled.append(f"address {info.ip.ip} {where} is in use by a neighbour, too")

    def _strangers(
        self, sandbox: str, inner: Iterable[LinkInfo], links: Mapping[str, LinkInfo]
    ) -> None:
        wanted = {
            obj.interface if isinstance(obj, Veth) else obj.name: obj
            for obj in self.view.want.values()
            if isinstance(obj, Veth | Macvlan) and obj.owner == sandbox
        }
        for link in inner:
            obj = wanted.get(link.name)
            if obj is None or self.access.object_id(link.alias):
                continue
            if isinstance(obj, Macvlan) and is_half_made(obj, link, links):
                continue
            # a kill may have come between the marks of the two ends of a pair
            host = links.get(obj.name) if isinstance(obj, Veth) else None
            if host is None or host.peer != link.index or not self.access.object_id(host.alias):
                self.foreign.append(f"link {link.name} in sandbox {sandbox} is not ours")

    def _redirect(self, way: Way, sandbox: str) -> None:
        (reply,) = way.filter.ask([nfcodec.get_redirect()])
        if not reply.errno and reply.messages:
            port = nfcodec.parse_redirect(reply.messages[0][1])
            self.objects.append(DnsRedirect(ns=sandbox, port=port))

    def _veths(
        self, sandbox: str, inner: Iterable[LinkInfo], links: Mapping[str, LinkInfo]
    ) -> set[str]:
        names = {index: link.name for link in links.values() for index in [link.index]}
        peers = {veth_name(self.access.object_id(link.alias)): link for link in inner}
        missing = [name for name in peers if name not in links]
        hosts = {**links, **{link.name: link for link in ask_links(self.access.host, missing)}}
        for name, peer in peers.items():
            host = hosts.get(name)
            if host is None or not self.access.object_id(host.alias) or host.peer != peer.index:
                continue
            endpoint = self.access.object_id(host.alias)
            found = _veth(host, peer, sandbox, endpoint, names.get(host.master, ""))
            apart = find_apart(self.access, self.view.want, host)
            self.objects.append(replace(found, apart=apart))
        return set(peers)

    def orphans(self, links: Mapping[str, LinkInfo], paired: set[str]) -> None:
        """Host ends of ours that lead to no sandbox in view."""
        everything = self.view.sandboxes is None
        for link in links.values():
            endpoint = self.access.object_id(link.alias)
            wanted = ("link", "", link.name) in self.view.want
            lone = link.kind == "veth" and endpoint and link.name not in paired
            if lone and (everything or wanted):
                self.objects.append(_lone(link, endpoint))

    def sysctls(self) -> None:
        """Values of the wanted sysctls, as they are."""
        wanted = [obj for obj in self.view.want.values() if isinstance(obj, Sysctl)]
        for obj in wanted:
            way = self.access.way(obj.ns)
            if way is None:
                continue
            with self.access.namespaces.inside(way.fd):
                value = read_sysctl(obj.name)
                if value is None and obj.optional and not _is_known(obj):
                    value = obj.value
            if value is not None:
                self.objects.append(replace(obj, value=value))

    def elements(self, guarded: set[str]) -> None:
        """Elements in view; ``guarded`` takes the families of the guard."""
        if self.view.networks is None or self.view.sandboxes is None:
            found = list(dump_elements(self.access))
        else:
            found = list(self._known_elements())
        for element in found:
            if element.set == "guarded":
                guarded.add(str(element.match[0]))
            else:
                self.objects.append(element)

    def _known_elements(self) -> Iterator[Element]:
        wanted = [obj for obj in self.view.want.values() if isinstance(obj, Element)]
        by_key = {element.key: element for element in (*self.view.elements, *wanted)}
        requests = [nfcodec.get_element(self.access.table, item) for item in by_key.values()]
        for reply in self.access.host.filter.ask(requests):
            for _, body in reply.messages:
                yield from nfcodec.parse_elements(body)

    def forwarding(self, guarded: set[str]) -> None:
        """Families that are forwarded, where wanted or turned on by us."""
        for family in ("ipv4", "ipv6"):
            obj = Forwarding(family="ipv4" if family == "ipv4" else "ipv6")
            if obj.key not in self.view.want and family not in guarded:
                continue
            with self.access.namespaces.inside(self.access.namespaces.home):
                if read_sysctl(FORWARD_SYSCTL[family]) == "1":
                    self.objects.append(obj)


def read(access: Access, view: View) -> Found:
    """Take a snapshot of the view."""
    reader = Reader(access, view)
    _table(access, view, reader)
    links = reader.host_links()
    reader.bridges(links)
    sandboxes = view.sandboxes if view.sandboxes is not None else access.sandboxes()
    paired = {name for sandbox in sorted(sandboxes) for name in reader.sandbox(sandbox, links)}
    reader.orphans(links, paired)
    reader.objects += find_parents(access, view.want, links, view.networks)
    reader.objects += find_routes(
        access, view.want, reader.objects, everything=view.sandboxes is None
    )
    guarded: set[str] = set()
    reader.elements(guarded)
    reader.forwarding(guarded)
    reader.sysctls()
    lacking = find_lacking(view.want, links)
    return Found(
        objects=build_state(reader.objects),
        foreign=tuple(reader.foreign),
        lacking=lacking,
        usable=tuple(find_usable(access, dump_links(access))) if lacking else (),
        doubled=tuple(reader.doubled),
    )


def _table(access: Access, view: View, reader: Reader) -> None:
    wanted = ("table",) in view.want
    if view.networks is not None:
        # a look at the whole text costs a thread: a scoped apply trusts the stamp's chain
        if wanted and has_stamp(access):
            reader.objects.append(Table())
        return
    text = list_table(access)
    whole = has_stamp(access, build_stamp(text))
    if (whole and wanted) or (text and not wanted and not operator_rules(text)):
        reader.objects.append(Table())


def veth_name(endpoint: str) -> str:
    """The name of an endpoint's link in the agent's namespace."""
    return f"ve{endpoint[:13]}"


def dump_links(access: Access) -> Iterator[LinkInfo]:
    """All links of the agent's namespace."""
    yield from (codec.parse_link(body) for _, body in access.host.route.dump(codec.dump_links()))


def dump_elements(access: Access) -> Iterator[Element]:
    """All elements of our table."""
    for name in nfcodec.LAYOUT:
        for body in _dump_set(access, name):
            yield from nfcodec.parse_elements(body)


def _dump_set(access: Access, name: str) -> list[bytes]:
    try:
        messages = access.host.filter.dump(nfcodec.dump_elements(access.table, name))
    except Refused:  # no such set: the table is not there, or somebody took it apart
        return []
    return [body for _, body in messages]


def list_table(access: Access) -> str:
    """The table's text without elements; "" when there is none."""
    if not any_reply(access.host.filter.ask([nfcodec.get_table(access.table)])):
        return ""
    return access.nft.run(f"list table inet {access.table}")


def any_reply(replies: Iterable[Reply]) -> bool:
    """Whether something was found."""
    return any(reply.messages and not reply.errno for reply in replies)


def has_stamp(access: Access, name: str = "") -> bool:
    """Whether the table has a stamp, or this very one."""
    if name:
        return any_reply(access.host.filter.ask([nfcodec.get_chain(access.table, name)]))
    return any_reply(access.host.filter.ask([nfcodec.get_chain(access.table, "decide")]))


def _is_known(obj: Sysctl) -> bool:
    """Whether this kernel has the setting for any link."""
    return read_sysctl(obj.name.replace(f".{obj.link}.", ".all.")) is not None


def _in(owner: str, owners: frozenset[str] | None) -> bool:
    return owners is None or owner in owners


def _bridge(link: LinkInfo, owner: str) -> Bridge:
    return Bridge(
        name=link.name,
        owner=owner,
        mac=link.mac,
        mtu_bytes=link.mtu_bytes,
        ipv6=link.ipv6,
        up=link.up,
    )


def _veth(host: LinkInfo, peer: LinkInfo, sandbox: str, endpoint: str, bridge: str) -> Veth:
    return Veth(
        name=host.name,
        owner=sandbox,
        endpoint=endpoint,
        bridge=bridge,
        interface=peer.name,
        mac=peer.mac,
        mtu_bytes=host.mtu_bytes if host.mtu_bytes == peer.mtu_bytes else 0,
        ipv6=peer.ipv6,
        hairpin=host.hairpin,
        up=host.up and peer.up,
    )


def _lone(link: LinkInfo, endpoint: str) -> Veth:
    # an owner that is nobody's: the pair is incomplete, so it is made again or removed
    return Veth(
        name=link.name, owner="?", endpoint=endpoint, bridge="", interface="", mac="", up=False
    )


def _our_addresses(way: Way, names: Mapping[int, str]) -> Iterator[AddressInfo]:
    only = next(iter(names)) if len(names) == 1 else 0
    for _, body in way.route.dump(codec.dump_addresses(only)):
        info = codec.parse_address(body)
        if info.protocol == codec.OUR_PROTOCOL and info.index in names:
            yield info


def _routes(way: Way, names: Mapping[int, str], ns: str) -> Iterator[Route]:
    for version in (4, 6):
        for _, body in way.route.dump(codec.dump_routes(version)):
            info = codec.parse_route(body)
            if info.protocol == codec.OUR_PROTOCOL and info.index in names:
                yield Route(ns=ns, to=info.to, via=info.via, link=names[info.index], owner=ns)

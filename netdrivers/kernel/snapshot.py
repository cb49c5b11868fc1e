"""What is in the kernel and bears our mark, for one scope or for all of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from netdrivers.kernel import ipcodec
from netdrivers.kernel.access import Access
from netdrivers.kernel.asking import ask_links
from netdrivers.kernel.bridged import find_apart
from netdrivers.kernel.codec import FORWARDING, LinkInfo
from netdrivers.kernel.forwarding import FORWARD_SYSCTL, guard_of, is_noted
from netdrivers.kernel.inside import look_home, look_inside, read_addresses
from netdrivers.kernel.ipcodec import AddressInfo
from netdrivers.kernel.macvlan_view import (
    find_macvlan,
    find_parents,
    find_routes,
    is_half_made,
    names_at_home,
)
from netdrivers.kernel.parents import find_lacking, find_usable
from netdrivers.kernel.quiet import read_sysctls
from netdrivers.kernel.sysctl import read_sysctl
from netdrivers.kernel.table import find_elements, has_chain, read_table
from netdrivers.kernel.vxlans import find_vxlan
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
from netdrivers.plan.tunnels import Vxlan

PART = 32  # sandboxes read in one go, 13 ms at most; others have their turn in between


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What to look at. ``want``: objects in scope; None for a set means all of that kind."""

    want: State
    networks: frozenset[str] | None = None
    sandboxes: frozenset[str] | None = None
    elements: tuple[Element, ...] = ()  # that may be there, besides the wanted
    fresh: bool = False  # nothing that is remembered is believed
    strays: bool = False  # links of those in scope are looked for under any name


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Objects of ours in the view, and what is in the way of wanted ones, in words by its key.

    ``lacking``: links of the operator's that wanted objects hang on and cannot, with the reason;
    ``usable``: what could be named instead. ``doubled``: addresses of ours
    that a neighbour has, too, in words.
    """

    objects: dict[Key, KernelObject]
    foreign: Mapping[Key, str] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)
    usable: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()


@dataclass(slots=True)
class Reader:
    """One snapshot being taken: in one step if it is small, else the sandboxes in parts."""

    access: Access
    view: View
    objects: list[KernelObject] = field(default_factory=list)
    foreign: dict[Key, str] = field(default_factory=dict)
    doubled: list[str] = field(default_factory=list)
    found: Found | None = None  # when all is done
    _links: Mapping[str, LinkInfo] = field(default_factory=dict)
    _names: Mapping[int, str] = field(default_factory=dict)
    _wanted: dict[str, dict[str, Veth | Macvlan]] = field(default_factory=dict)
    _paired: set[str] = field(default_factory=set)

    def begin(self) -> list[str]:
        """The agent's namespace; the sandboxes to look at afterwards, none if all is done."""
        names = self._home()
        if len(names) > PART:
            return names
        self.sandboxes(names)
        self.found = self.rest()
        return []

    def _home(self) -> list[str]:
        self._table()
        for obj in self.view.want.values():
            if isinstance(obj, Veth | Macvlan):
                name = obj.interface if isinstance(obj, Veth) else obj.name
                self._wanted.setdefault(obj.owner, {})[name] = obj
        self._links, addresses = self._host_links()
        self._names = {link.index: link.name for link in self._links.values()}
        self._bridges(addresses)
        everything = self.view.sandboxes is None
        return self.access.sandboxes() if everything else sorted(self.view.sandboxes or ())

    def _table(self) -> None:
        wanted = ("table",) in self.view.want
        if self.view.networks is not None:
            # a look at the whole text costs 5 ms: a scoped apply trusts one chain
            if wanted and has_chain(self.access, "decide"):
                self.objects.append(Table())
            return
        facts = read_table(self.access)
        if facts.is_whole if wanted else facts.is_there and not facts.is_used:
            self.objects.append(Table())

    def _host_links(self) -> tuple[Mapping[str, LinkInfo], list[AddressInfo] | None]:
        """Links of the agent's namespace that the view needs, by name; addresses if of all."""
        if self._whole_host():
            home = look_home(self.access)
            return home.links, list(home.addresses)
        names = {
            obj.name for obj in self.view.want.values() if isinstance(obj, Bridge | Veth | Vxlan)
        }
        names |= {obj.bridge for obj in self.view.want.values() if isinstance(obj, Veth | Vxlan)}
        names |= names_at_home(self.view.want)
        return {link.name: link for link in ask_links(self.access.host, sorted(names))}, None

    def _whole_host(self) -> bool:
        # a network that is to go may have any bridge name: only its mark tells
        networks = self.view.networks
        kinds = (Bridge, Parent)
        wanted = {obj.owner for obj in self.view.want.values() if isinstance(obj, kinds)}
        return networks is None or self.view.strays or bool(networks - wanted)

    def _bridges(self, addresses: Sequence[AddressInfo] | None) -> None:
        """Bridges and macvlans in view, their addresses, and strangers that bear a wanted name."""
        ours: dict[int, tuple[str, str]] = {}
        for link in self._links.values():
            owner = self.access.object_id(link.alias)
            self._check_place(link, owner)
            if not owner or not _in(owner, self.view.networks):
                continue
            if link.kind == "bridge":
                self.objects.append(_bridge(link, owner))
            elif link.kind == "vxlan":
                self.objects += find_vxlan(self.access, link, owner, self._names)
                continue
            elif link.kind == "macvlan":
                found = find_macvlan(
                    self.view.want, link, self._links, ns="", owner=owner, mark=owner
                )
                self.objects.append(found)
            else:
                continue
            ours[link.index] = (link.name, owner)
        if ours and addresses is None:
            addresses = read_addresses(self.access.host, set(ours))
        for info in addresses or ():
            if info.index in ours:
                name, owner = ours[info.index]
                self._address(info, "", name, owner)

    def _check_place(self, link: LinkInfo, owner: str) -> None:
        """A stranger, or the link of another one, in the place of a wanted link is in the way."""
        key: Key = ("link", "", link.name)
        if key in self.view.want and not owner:
            self.foreign[key] = f"link {link.name} is not ours"
        elif owner != self._mark_of(key, owner):
            self.foreign[key] = f"link {link.name} belongs to {owner}; choose another name"

    def _mark_of(self, key: Key, found: str) -> str:
        """The mark that the link wanted there is to have; ``found`` where none is wanted.

        An apply of everything changes the link of an owner that is no more into the wanted one.
        """
        match self.view.want.get(key):
            case Bridge(owner=mark) | Veth(endpoint=mark) | Macvlan(mark=mark) | Vxlan(owner=mark):
                return found if self.view.networks is None else mark
            case _:
                return found

    def sandboxes(self, names: Iterable[str]) -> None:
        """Some of the sandboxes, and all in them."""
        for name in names:
            self._sandbox(name)

    def _sandbox(self, sandbox: str) -> None:
        way, wanted = self.access.way(sandbox), ("sandbox", sandbox) in self.view.want
        is_lost = way is None and wanted
        if is_lost:
            way = self.access.lost(sandbox)
        if way is None:
            if self.access.pin(sandbox).exists() and not wanted:
                self.objects.append(Sandbox(id=sandbox, loopback_up=False))
            return
        inside = look_inside(self.access, way)
        self._strangers(sandbox, inside.links)
        if not is_lost:
            up = any(link.name == "lo" and link.up for link in inside.links)
            self.objects.append(Sandbox(id=sandbox, loopback_up=up))
        ours = {link.index: link for link in inside.links if self.access.object_id(link.alias)}
        for address in inside.addresses:
            self._address(address, sandbox, ours[address.index].name, sandbox)
        for route in inside.routes:
            name = ours[route.index].name
            self.objects.append(
                Route(ns=sandbox, to=route.to, via=route.via, link=name, owner=sandbox)
            )
        if inside.redirect is not None:
            self.objects.append(DnsRedirect(ns=sandbox, port=inside.redirect))
        for link in ours.values():
            if link.kind == "macvlan":
                mark = self.access.object_id(link.alias)
                self.objects.append(
                    find_macvlan(
                        self.view.want, link, self._links, ns=sandbox, owner=sandbox, mark=mark
                    )
                )
        self._veths(sandbox, [link for link in ours.values() if link.kind == "veth"])

    def _address(self, info: AddressInfo, ns: str, link: str, owner: str) -> None:
        dad = info.ip.version == 6 and not info.flags & ipcodec.IFA_F_NODAD
        self.objects.append(
            Address(ns=ns, link=link, ip=info.ip, owner=owner, dad=dad, routed=info.routed)
        )
        if info.flags & ipcodec.IFA_F_DADFAILED:
            where = f"in sandbox {ns}" if ns else f"of network {owner}"
            self.doubled.append(f"address {info.ip.ip} {where} is in use by a neighbour, too")

    def _strangers(self, sandbox: str, inner: Iterable[LinkInfo]) -> None:
        wanted = self._wanted.get(sandbox, {})
        for link in inner:
            obj = wanted.get(link.name)
            if obj is None or self.access.object_id(link.alias):
                continue
            if isinstance(obj, Macvlan) and is_half_made(obj, link, self._links):
                continue
            # a kill may have come between the marks of the two ends of a pair
            host = self._links.get(obj.name) if isinstance(obj, Veth) else None
            if host is None or host.peer != link.index or not self.access.object_id(host.alias):
                words = f"link {link.name} in sandbox {sandbox} is not ours"
                self.foreign["link", sandbox, link.name] = words

    def _veths(self, sandbox: str, inner: Iterable[LinkInfo]) -> None:
        peers = {veth_name(self.access.object_id(link.alias)): link for link in inner}
        missing = [name for name in peers if name not in self._links]
        if missing and not self._whole_host():
            more = {link.name: link for link in ask_links(self.access.host, missing)}
            self._links = {**self._links, **more}
        for name, peer in peers.items():
            host = self._links.get(name)
            endpoint = self.access.object_id(peer.alias)
            if host is None or not self.access.object_id(host.alias) or host.peer != peer.index:
                self.objects.append(_lone(name, endpoint, sandbox, peer.name))
                continue
            bridge = self._links.get(self._names.get(host.master, ""))
            found = _veth(host, peer, sandbox, self.access.object_id(host.alias), bridge)
            apart = find_apart(self.access, self.view.want, host)
            self.objects.append(replace(found, apart=apart))
        self._paired |= set(peers)

    def rest(self) -> Found:
        """What is looked for when all sandboxes are known, and the whole."""
        everything = self.view.sandboxes is None
        self._orphans()
        self.objects += find_parents(self.access, self.view.want, self._links, self.view.networks)
        self.objects += find_routes(
            self.access, self.view.want, self.objects, everything=everything
        )
        guarded: set[str] = set()
        self._elements(guarded)
        self._forwarding(guarded)
        self.objects += read_sysctls(
            self.access, [obj for obj in self.view.want.values() if isinstance(obj, Sysctl)]
        )
        lacking = find_lacking(self.view.want, self._links)
        links = look_home(self.access).links.values() if lacking else ()
        return Found(
            objects=build_state(self.objects),
            foreign=self.foreign,
            lacking=lacking,
            usable=tuple(find_usable(self.access, links)),
            doubled=tuple(self.doubled),
        )

    def _orphans(self) -> None:
        """Host ends of ours that lead to no sandbox in view; ways that nobody needs."""
        everything = self.view.sandboxes is None
        for link in self._links.values():
            endpoint = self.access.object_id(link.alias)
            wanted = ("link", "", link.name) in self.view.want
            lone = link.kind == "veth" and endpoint and link.name not in self._paired
            if lone and (everything or wanted):
                self.objects.append(_lone(link.name, endpoint))
        for name in self.access.opened() if everything else ():
            if name and ("sandbox", name) not in self.view.want and self.access.lost(name):
                self.access.forget(name)

    def _elements(self, guarded: set[str]) -> None:
        """Elements in view; ``guarded`` takes the families of the guard."""
        if self._sees_table():
            found: Iterable[Element] = read_table(self.access).elements
        else:
            wanted = [obj for obj in self.view.want.values() if isinstance(obj, Element)]
            found = find_elements(self.access, (*self.view.elements, *wanted, *self._guards()))
        for element in found:
            if element.set == "guarded":
                guarded.add(str(element.match[0]))
            else:
                self.objects.append(element)

    def _sees_table(self) -> bool:
        return self.view.networks is None or self.view.sandboxes is None

    def _guards(self) -> list[Element]:
        """The guards that have to be there for what is wanted."""
        wanted = [obj for obj in self.view.want.values() if isinstance(obj, Forwarding)]
        return [guard_of(obj.family) for obj in wanted if is_noted(self.access, obj.family)]

    def _forwarding(self, guarded: set[str]) -> None:
        """Families that are forwarded, where wanted, or turned on by us and all is in view.

        One that is wanted and has lost its guard is not as it should be, so it is not there.
        """
        for family in FORWARD_SYSCTL:
            obj = Forwarding(family="ipv4" if family == "ipv4" else "ipv6")
            noted, has_guard = is_noted(self.access, family), family in guarded
            if obj.key in self.view.want:
                counts = has_guard or not noted
            else:
                counts = has_guard or (noted and self._sees_table())
            with self.access.namespaces.inside(self.access.namespaces.home):
                if counts and read_sysctl(FORWARD_SYSCTL[family]) == "1":
                    self.objects.append(obj)


def veth_name(endpoint: str) -> str:
    """The name of an endpoint's link in the agent's namespace."""
    return f"ve{endpoint[:13]}"


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


def _veth(
    host: LinkInfo, peer: LinkInfo, sandbox: str, endpoint: str, bridge: LinkInfo | None
) -> Veth:
    return Veth(
        name=host.name,
        owner=sandbox,
        endpoint=endpoint,
        bridge=bridge.name if bridge else "",
        interface=peer.name,
        mac=peer.mac,
        mtu_bytes=host.mtu_bytes if host.mtu_bytes == peer.mtu_bytes else 0,
        ipv6=peer.ipv6,
        hairpin=host.hairpin,
        up=host.up and peer.up,
        shut=host.port_state != FORWARDING and bridge is not None and _opens_ports(bridge),
    )


def _lone(name: str, endpoint: str, sandbox: str = "", interface: str = "") -> Veth:
    """An end without the other: the pair is made again, or what is left of it is removed."""
    return Veth(
        name=name,
        owner=sandbox or "?",  # a host end leads to nobody
        endpoint=endpoint,
        bridge="",
        interface=interface,
        mac="",
        up=False,
        lone="sandbox" if sandbox else "host",
    )


def _opens_ports(bridge: LinkInfo) -> bool:
    return bridge.up and not bridge.stp

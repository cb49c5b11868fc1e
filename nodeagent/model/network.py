"""A network: request, record and views."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from nodeagent.model.containerrequest import EndpointRequest, Labels, Name, Text, Words


class SubnetRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``--subnet --gateway --ip-range --aux-address``; gateway "" = the first address."""

    subnet: Name
    gateway: Name = ""
    ip_range: Name = ""
    aux_addresses: Labels = {}


class NetworkCreate(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``network.create``. Without subnets one IPv4 subnet comes from the pools."""

    name: Name
    driver: Name = "bridge"
    subnets: Annotated[list[SubnetRequest], Meta(max_length=16)] = []
    internal: bool = False
    ipv4: bool = True
    ipv6: bool | None = None  # not said: only if a subnet of IPv6 is given
    labels: Labels = {}
    options: Labels = {}


class NetworkRemove(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``force``: a network that is not there is no error."""

    name: Text
    force: bool = False


class NetworkPrune(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Filters: label, label! (not), until."""

    filters: Annotated[dict[Name, Words], Meta(max_length=64)] = {}


class NetworkConnect(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a container joins a network."""

    network: Text
    container: Text
    endpoint: EndpointRequest = EndpointRequest()


class NetworkDisconnect(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``force``: also from a network that only the container still knows of."""

    network: Text
    container: Text
    force: bool = False


class SharedNetwork(Struct, frozen=True, kw_only=True):
    """Of a network of several hosts: the same on all of them."""

    vni: int
    sealed: bool  # its packets go encrypted, or not at all
    multicast: bool = False
    port: int = 4789  # of VXLAN, between the hosts


class RemoteEndpoint(Struct, frozen=True, kw_only=True):
    """An endpoint on another host, and where that is reached."""

    mac: str
    addresses: list[str]
    vtep: str
    container: str
    names: list[str]
    services: dict[str, int] = {}
    ready: bool = True


class Reach(Struct, frozen=True, kw_only=True):
    """What this host knows of a shared network's other parts; kept, so that it is known again."""

    vtep: str = ""
    remotes: list[RemoteEndpoint] = []


class NetworkRecord(Struct, frozen=True, kw_only=True):
    """All that is durable about one network."""

    id: str
    name: str
    created: str
    driver: str
    subnets: list[SubnetRequest]  # gateways filled in
    internal: bool
    ipv6: bool
    mtu_bytes: int
    labels: dict[str, str]
    options: dict[str, str]
    phase: Literal["creating", "ready", "removing"]
    predefined: bool = False
    on_wire: bool = False  # its subnets and gateways are those of a wire that is not ours
    shared: SharedNetwork | None = None
    reach: Reach | None = None  # of a shared one


class _View(Struct, frozen=True, kw_only=True, rename="pascal"):
    """Docker's spelling."""


class IpamConfigView(_View, frozen=True, kw_only=True):
    subnet: str
    gateway: str
    ip_range: str = field(name="IPRange")
    auxiliary_addresses: dict[str, str]
    addresses_used: int
    addresses_free: int


class IpamView(_View, frozen=True, kw_only=True):
    driver: str
    config: list[IpamConfigView]


class NetworkContainerView(_View, frozen=True, kw_only=True):
    name: str
    endpoint_id: str = field(name="EndpointID")
    mac_address: str
    ipv4_address: str = field(name="IPv4Address")
    ipv6_address: str = field(name="IPv6Address")
    interface: str
    names: list[str]  # what it answers to on this network
    ready: bool  # whether names lead to it
    ports: list[str]  # "127.0.0.1:8080->80/tcp", of those that this network serves
    counters: dict[str, int]  # of the interface, as the container sees it


class KernelObjectView(_View, frozen=True, kw_only=True):
    """One thing that the kernel should hold, and whether it does."""

    object: str  # as in a plan
    state: Literal["present", "missing", "different", "unwanted", "unknown"]
    counters: dict[str, int]  # of links


class DnsRecordView(_View, frozen=True, kw_only=True):
    """A name and one endpoint that bears it; one that is not ready answers to all.NAME only."""

    name: str
    addresses: list[str]
    ready: bool


class PeerView(_View, frozen=True, kw_only=True):
    """Another host of a network, and the way to it; ages in seconds, -1 = never."""

    name: str
    node_id: str = field(name="NodeID")
    address: str
    vtep: str = field(name="VTEP")
    endpoints: int
    encrypted: bool
    handshake_age: float
    received_bytes: int
    sent_bytes: int
    proof: Literal["", "sealed", "clear"] = ""  # how a known packet was last seen to leave
    proof_age: float = -1.0


class NetworkView(_View, frozen=True, kw_only=True):
    """One element of ``network.inspect``."""

    name: str
    id: str
    created: str
    scope: str
    driver: str
    enable_ipv4: bool = field(name="EnableIPv4")
    enable_ipv6: bool = field(name="EnableIPv6")
    ipam: IpamView = field(name="IPAM")
    internal: bool
    containers: dict[str, NetworkContainerView]
    options: dict[str, str]
    labels: dict[str, str]
    mtu: int = field(name="MTU")
    kernel_objects: list[KernelObjectView]
    problem: str  # why the kernel could not be compared, in words
    dns_records: list[DnsRecordView] = field(name="DNSRecords")
    conflicts: list[str]  # routes of the host, not ours, that overlap its subnets
    peers: list[PeerView] = []  # of a network of several hosts
    # packets of an encrypted one that this host's links have seen in clear: refused ones, leaks
    clear_refused: int = 0
    clear_sent: int = 0


class NetworkRow(_View, frozen=True, kw_only=True):
    """One line of ``network.ls``."""

    id: str = field(name="ID")
    name: str
    driver: str
    scope: str
    internal: bool
    created_at: str
    labels: str

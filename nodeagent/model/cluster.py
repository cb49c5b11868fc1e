"""A cluster: requests, records and views."""

from ipaddress import ip_address
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from nodeagent.model.containerrequest import Labels, Name, Text

NodeRole = Literal["manager", "worker"]
Availability = Literal["active", "pause", "drain"]
_Port = Annotated[int, Meta(ge=1, le=65535)]

# What follows is read from rows that any node may write: only what reads so is believed.
HOST_NAME: Final = r"^(?!.{254})[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*$"
_Key = Annotated[str, Meta(pattern=r"^([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)?$")]
_Mac = Annotated[str, Meta(pattern=r"^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$")]
_Service = Annotated[str, Meta(max_length=255)]


class ClusterInit(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``advertise_addr``: this host's address for the others; "" = that of the default route."""

    advertise_addr: Name = ""


class ClusterJoin(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``remote``: HOST:PORT of a manager."""

    token: Text
    remote: Text
    advertise_addr: Name = ""


class ClusterAdmit(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a host that joins sends to a manager. ``request``: for a certificate, PEM."""

    secret: Text
    request: Text
    name: Name
    address: Name


class ClusterAdmitted(Struct, frozen=True, kw_only=True):
    """What it is given. ``managers``: HOST:PORT of their stores."""

    cluster: str
    node_id: str
    role: NodeRole
    certificate: str
    managers: list[str]


class ClusterRestore(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The backup comes as the call's input. ``dry_run``: only say what would be."""

    advertise_addr: Name = ""
    dry_run: bool = False


class ClusterRecover(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``dry_run``: only say how it is, and what would be lost."""

    dry_run: bool = False


class ClusterEnter(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A node asks for the rights that an endpoint on a network needs, or a lease of a volume."""

    network: Name = ""
    volume: Name = ""


class ClusterSign(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A node asks for a new certificate. ``request``: for its key, PEM."""

    request: Text


class ClusterLeave(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``force``: also a manager whose cluster cannot be asked."""

    force: bool = False


class TokenRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``rotate``: the former token admits nobody any more."""

    role: NodeRole
    rotate: bool = False


class CertRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A certificate for a program that speaks to the cluster's agents by TCP."""

    name: Text
    role: Literal["admin", "operator", "reader"]
    days: Annotated[int, Meta(ge=1, le=3650)] = 90


class NodeUpdate(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Labels that are set and taken away; availability if given."""

    name: Text
    labels: Labels = {}
    label_rm: list[Name] = []
    availability: Availability | None = None


class NodeRef(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A node by name, id, or ``self``."""

    name: Name


class Warned(Struct, frozen=True, kw_only=True):
    """Done, and what is to be said of it."""

    warnings: list[str] = []


class NodeRemove(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``force``: also one that is up; it finds itself removed and leaves."""

    name: Text
    force: bool = False


class ClusterSelf(Struct, frozen=True, kw_only=True):
    """What an agent keeps of its own membership. Until ``ready`` its beginning goes on."""

    cluster: str
    node_id: str
    role: NodeRole
    name: str
    address: str
    managers: list[str]
    phase: Literal["founding", "joining", "recovering", "ready"]
    token: str = ""  # of the store that was begun here: members of a former one are strangers


class NodeSpec(Struct, frozen=True, kw_only=True):
    """What managers say of a node."""

    id: str
    name: str
    role: NodeRole
    joined: str
    availability: Availability = "active"
    labels: dict[str, str] = {}


class NodeSelf(Struct, frozen=True, kw_only=True):
    """What a node says of itself. ``key``: its public key, for encrypted networks.

    Raises:
        ValueError: the address is none that a host can have.
    """

    address: str
    version: Name
    key: _Key = ""
    wireguard_port: _Port = 51820
    rpc_port: _Port = 2377
    trusts: Annotated[list[Name], Meta(max_length=4)] = []  # authorities, by digest
    signed_by: Name = ""  # the authority of its certificate

    def __post_init__(self) -> None:
        found = ip_address(self.address)
        if found.is_unspecified or found.is_multicast or "%" in self.address:
            raise ValueError(f"no address of a host: {self.address}")


class Trust(Struct, frozen=True, kw_only=True):
    """Whom all nodes are to trust: ``bundle`` (PEM); ``was`` and ``new``: authorities by digest.

    ``both``: each trusts both; ``new``: each gets a certificate of the new one; ``done``: only the
    new one is trusted.
    """

    stage: Literal["both", "new", "done"]
    bundle: str
    was: str
    new: str


class RotationView(Struct, frozen=True, kw_only=True, rename="pascal"):
    """How the rotation of the authority stands. ``waits_for``: nodes that have not followed yet."""

    stage: Literal["none", "both", "new", "done"]
    digest: str = ""
    waits_for: list[str] = []


class AddressClaim(Struct, frozen=True, kw_only=True):
    """Whose an address of a network is."""

    node_id: Name
    container_id: Name


class EndpointRow(Struct, frozen=True, kw_only=True):
    """An endpoint as other nodes need it: what it is called; the key says on which node it is.

    Raises:
        ValueError: an address is none.
    """

    container: Annotated[str, Meta(pattern=HOST_NAME)]
    mac: _Mac
    addresses: Annotated[list[str], Meta(max_length=16)]  # without a prefix length
    names: Annotated[list[Annotated[str, Meta(min_length=1, max_length=255)]], Meta(max_length=999)]
    services: Annotated[dict[_Service, _Port], Meta(max_length=4096)] = {}
    ready: bool = True

    def __post_init__(self) -> None:
        for each in self.addresses:
            ip_address(each)


class BackupTaken(Struct, frozen=True, kw_only=True, rename="pascal"):
    """What was written. ``revision``: of the store, at that moment."""

    cluster: str
    revision: int
    rows: int
    sha256: str


class BackupView(Struct, frozen=True, kw_only=True, rename="pascal"):
    """What a backup holds, and what its restoration makes of the managers of then."""

    cluster: str
    taken: str
    revision: int
    nodes: int
    networks: int
    endpoints: int
    become_workers: list[str] = []


class StoreStanding(Struct, frozen=True, kw_only=True, rename="pascal"):
    """What a manager's own member of the store knows, asked of it alone."""

    node_id: str
    name: str
    address: str
    answers: bool
    revision: int = 0
    term: int = 0
    problem: str = ""


class RecoveryView(Struct, frozen=True, kw_only=True, rename="pascal"):
    """Managers as this one finds them, itself first, and what going on alone would lose."""

    quorum: bool
    managers: list[StoreStanding]
    advice: list[str]


class Secret(Struct, frozen=True, kw_only=True):
    """A secret that is shown once."""

    text: str


class CertView(Struct, frozen=True, kw_only=True):
    """A certificate, its key and the authority, PEM."""

    certificate: str
    key: str
    authority: str


class NodeView(Struct, frozen=True, kw_only=True, rename="pascal"):
    """One node. ``status``: ready as long as it keeps its lease alive."""

    id: str
    hostname: str
    status: Literal["ready", "down"]
    availability: Availability
    role: NodeRole
    address: str
    engine_version: str
    labels: dict[str, str]
    is_self: bool
    joined_at: str


class ClusterView(Struct, frozen=True, kw_only=True, rename="pascal"):
    """This agent's place in a cluster. ``problem``: why changes are refused now, if they are."""

    state: Literal["inactive", "active"]
    id: str = ""
    node_id: str = ""
    role: str = ""
    address: str = ""
    nodes: int = 0
    managers: int = 0
    problem: str = ""
    encryption: str = ""  # which WireGuard, or why there is none
    warnings: list[str] = []

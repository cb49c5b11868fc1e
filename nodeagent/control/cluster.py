"""This agent in a cluster: it takes part, and knows what the others say.

The store is etcd's, on the managers. Everything here goes on without it: what is known stays known,
and only changes are refused.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec
import trio

from netdrivers.contract.encryption import Encryption
from nodeagent.cluster import ca
from nodeagent.cluster.backupfile import parse_backup
from nodeagent.cluster.etcd.client import Address, EtcdClient, open_client
from nodeagent.cluster.etcdstore import EtcdStore
from nodeagent.cluster.mirror import Mirror
from nodeagent.cluster.place import ClusterPlace
from nodeagent.control.beat import BEAT_S, keep_telling, tell_self
from nodeagent.control.clusteradmin import ClusterAdmin
from nodeagent.control.founding import found, restore
from nodeagent.control.hostaddress import build_host, parse_remote
from nodeagent.control.parts import Parts
from nodeagent.control.renewal import Renewal
from nodeagent.control.storemember import ClusterPorts, StoreMember
from nodeagent.control.storerights import StoreRights
from nodeagent.control.times import build_time
from nodeagent.errors import Refused, Unavailable, kind_of
from nodeagent.model.cluster import ClusterSelf, ClusterSign, NodeRole, NodeSelf, NodeSpec

log = logging.getLogger(__name__)
T = TypeVar("T")

RESTART_S: Final = 20.0  # for a member that is started anew to answer
NO_CLUSTER: Final = (
    "this agent is in no cluster: `cluster init` begins one, `cluster join` enters one"
)


# asks another agent: (host, port), TLS, what to do with its certificate, method, parameters, answer
Ask = Callable[[Address, ssl.SSLContext, Callable[[bytes], None], str, object], Awaitable[object]]


class Cluster:
    """What of a cluster this agent knows, and the tasks that keep it a part of it."""

    def __init__(
        self,
        parts: Parts,
        nursery: trio.Nursery,
        ports: ClusterPorts,
        encryption: Encryption,
        ask: Ask,
    ) -> None:
        self._parts = parts
        self._nursery = nursery
        self.ask = ask
        self.ports = ports
        self.encryption = encryption
        self.place = ClusterPlace(parts.settings.root / "cluster")
        self.own: ClusterSelf | None = None
        self.changed: list[Callable[[], None]] = []  # told of every change that is seen
        self.active = trio.Event()  # there is a store, and this agent is of its cluster
        self.ended = trio.Event()  # it is not any more
        self._server_context: tuple[bytes, ssl.SSLContext] | None = None  # by its certificate
        self.entered: set[str] = set()  # networks for which a worker has its rights
        self._scope = trio.CancelScope()
        self._quiet = trio.Event()  # the tasks of taking part have ended
        self._quiet.set()
        self._client: EtcdClient | None = None
        self._store: EtcdStore | None = None
        self._member = StoreMember(self.place, ports, parts.now)
        self._tasks: trio.Nursery | None = None  # of taking part
        self._mirrors: dict[str, Mirror] = {}
        self.version = parts.settings.version
        self.problem = ""  # why the store cannot be used now
        self.is_refused = False  # it knows this node no more, or not in its role

    # --- what is known ---------------------------------------------------------------------------

    @property
    def store(self) -> EtcdStore:
        """The shared store. Refused: this agent is in no cluster."""
        if self._store is None:
            raise Refused(NO_CLUSTER)
        return self._store

    @property
    def client(self) -> EtcdClient:
        """What asks the store. Refused: this agent is in no cluster."""
        if self._client is None:
            raise Refused(NO_CLUSTER)
        return self._client

    @property
    def identity(self) -> ClusterSelf:
        """Who this agent is. Refused: it is in no cluster."""
        if self.own is None:
            raise Refused(NO_CLUSTER)
        return self.own

    def admin(self) -> ClusterAdmin:
        """What only managers can do. Refused: this is none."""
        store, own = self.store, self.own
        if own is None or own.role != "manager" or self._client is None:
            raise Refused("this is a worker: ask one of the managers", field="node")
        return ClusterAdmin(self._parts, store, self._client, own)

    def mirror(self, prefix: str) -> Mirror:
        """Rows that are followed: ``node/`` or ``network/``."""
        return self._mirrors[prefix]

    def specs(self) -> dict[str, NodeSpec]:
        """Nodes as managers say, by id."""
        return self._decoded("node/", NodeSpec, "/spec")

    def selves(self) -> dict[str, NodeSelf]:
        """Nodes as they say themselves, by id."""
        return self._decoded("node/", NodeSelf, "/self")

    def alive(self) -> set[str]:
        """Nodes that keep their lease alive."""
        rows = self._mirrors["node/"].rows if "node/" in self._mirrors else {}
        return {key.removesuffix("/alive") for key in rows if key.endswith("/alive")}

    def _decoded(self, prefix: str, type_: type[T], suffix: str) -> dict[str, T]:
        mirror = self._mirrors.get(prefix)
        return mirror.decoded(type_, suffix) if mirror else {}

    # --- asking others ----------------------------------------------------------------------

    async def open(self) -> None:
        """At start: go on as what this agent was."""
        try:
            own = await trio.to_thread.run_sync(self.place.read)
        except Refused as exc:  # containers and what needs no cluster go on
            self.problem = str(exc)
            log.error("takes no part in the cluster", extra={"error": str(exc)})
            return
        if own is not None:
            self._nursery.start_soon(self._go_on, own)

    async def _go_on(self, own: ClusterSelf) -> None:
        """Whatever keeps us from it keeps the agent from nothing else."""
        while True:
            try:
                await self.begin(own)
            except (Unavailable, OSError) as exc:
                self.problem = str(exc)
                log.warning("the cluster waits", extra={"error": str(exc)})
                await trio.sleep(BEAT_S)
            else:
                return

    async def ask_manager(self, remote: Address, method: str, params: object) -> object:
        """Call an agent of the cluster, as this node."""
        context = self.place.client_context()
        return await self.ask(remote, context, self._check_manager, method, params)

    def _check_manager(self, certificate: bytes) -> None:
        """Refuse who answers at a manager's address and is none: a worker may have taken it."""
        pem = ssl.DER_cert_to_PEM_cert(certificate).encode()
        ca.check_manager(self.place.authority(), pem, now=self._parts.now())

    def server_context(self) -> ssl.SSLContext:
        """TLS of this node as a server, with the certificate it has now."""
        certificate = self.place.certificate() + self.place.authority()
        if self._server_context is None or self._server_context[0] != certificate:
            self._server_context = (certificate, self.place.server_context())
        return self._server_context[1]

    async def wait_active(self) -> None:
        """Return once this agent takes part in a cluster, whichever that is then."""
        while not self.active.is_set():
            await self.active.wait()

    def managers(self) -> list[Address]:
        """Where managers that are up serve RPC."""
        specs, alive = self.specs(), self.alive()
        return [
            (node.address, node.rpc_port)
            for id_, node in self.selves().items()
            if id_ in alive and id_ in specs and specs[id_].role == "manager"
        ]

    async def _ask_any(self, method: str, params: object) -> object:
        """Ask a manager that is not this node, whichever answers first in turn."""
        own = self.identity
        known = [each for each in self.managers() if each[0] != own.address]
        stores = (parse_remote(each, self.ports.client)[0] for each in own.managers)
        guesses = [(host, self.ports.rpc) for host in stores if host != own.address]
        why = "none is known"
        for remote in dict.fromkeys([*known, *guesses]):
            try:
                return await self.ask_manager(remote, method, params)
            except (Unavailable, Refused) as exc:  # it is gone, or no manager any more
                why = str(exc)
        raise Unavailable("no manager of the cluster does it", reason=why)

    def renewal(self) -> Renewal:
        """What renews this node's certificate. Refused: it is in no cluster."""
        own = self.identity

        async def sign(request: bytes) -> bytes:
            spec = self.specs().get(own.node_id)
            is_manager = own.role == "manager" and spec is not None and spec.role == "manager"
            if is_manager and not self.is_refused:
                admin = self.admin()
                await self._member.certify(own, await admin.authority())
                return (await admin.renew(own.node_id, request.decode())).encode()
            asked = ClusterSign(request=request.decode())
            return str(await self._ask_any("cluster.sign", asked)).encode()

        return Renewal(self.place, sign, self._parts.now)

    # --- taking part -----------------------------------------------------------------------------

    async def begin(self, own: ClusterSelf) -> None:
        """Take part as what this agent is; ``active`` is set when that works."""
        self.own = own
        addresses = [parse_remote(each, self.ports.client) for each in own.managers]
        await self._member.begin(own)
        self._client = EtcdClient(addresses, self.place.store_context, self._check_manager)
        self._store = EtcdStore(self._client)
        self._mirrors = {
            prefix: Mirror(self._store, prefix, self._tell)
            for prefix in ("node/", "network/", "trust")
        }
        self._scope, self._quiet = trio.CancelScope(), trio.Event()
        self._nursery.start_soon(self._take_part, own, self._client, self._quiet)

    async def _take_part(self, own: ClusterSelf, client: EtcdClient, quiet: trio.Event) -> None:
        try:
            await self._keep_part(own, client)
        finally:
            quiet.set()

    async def _keep_part(self, own: ClusterSelf, client: EtcdClient) -> None:
        with self._scope:
            async with trio.open_nursery() as nursery:
                self._tasks = nursery
                nursery.start_soon(client.run)
                nursery.start_soon(self._member.keep_running)
                await self._until_settled(own)
                for mirror in self._mirrors.values():
                    nursery.start_soon(mirror.run)
                nursery.start_soon(keep_telling, self)
                for mirror in self._mirrors.values():
                    await mirror.synced.wait()
                self.active.set()
                nursery.start_soon(self.renewal().run)
                self._tell()
                log.info("takes part in a cluster", extra={"cluster": own.cluster, "as": own.role})

    async def _until_settled(self, own: ClusterSelf) -> None:
        while True:
            try:
                await self._settle(own)
            except Exception as exc:
                if not kind_of(exc):
                    raise
                self.problem = str(exc)
                await trio.sleep(BEAT_S / 4)
            else:
                self.problem = ""
                return

    async def _settle(self, own: ClusterSelf) -> None:
        """Finish what a beginning is; each step may have been done before a kill."""
        if own.phase == "founding":
            await self._found(own)
        elif own.phase == "recovering":
            await self._outlive(own)
        elif own.phase == "joining" and own.role == "manager" and self._client is not None:
            await self._member.join(own, self._client, self.admin().authority)
            if self._tasks is not None:
                self._tasks.start_soon(self._member.keep_running)
        self.own = msgspec.structs.replace(own, phase="ready")
        self.place.write(self.own)
        self.place.forget_founding()

    async def _found(self, own: ClusterSelf) -> None:
        authority, backup = self.place.read_founding(), self.place.read_backup()
        if authority is None or self._client is None:
            return
        rights, joined = StoreRights(self._client), build_time(self._parts.now())
        if backup is None:
            await found(self.store, rights, own, authority, joined)
        else:
            await restore(self.store, rights, own, parse_backup(backup), joined)

    async def _outlive(self, own: ClusterSelf) -> None:
        """The store has this member only: the managers that it had become workers."""
        admin = self.admin()
        for node_id in await admin.other_managers():
            await admin.change_role(node_id, "worker")
        # as it was started it would lose members that are added later
        await self._member.stop()
        await self._member.begin(msgspec.structs.replace(own, phase="ready"))
        if self._tasks is not None:
            self._tasks.start_soon(self._member.keep_running)

    def _note_managers(self) -> None:
        """Where the stores of all managers are; kept for the next start, too."""
        own, client, selves = self.own, self._client, self.selves()
        managers = [
            f"{build_host(selves[id_].address)}:{self.ports.client}"
            for id_, spec in self.specs().items()
            if spec.role == "manager" and id_ in selves
        ]
        if managers and own is not None and client is not None and managers != own.managers:
            self.own = msgspec.structs.replace(own, managers=managers)
            self.place.write(self.own)
            client.set_members([parse_remote(each, self.ports.client) for each in managers])

    def _tell(self) -> None:
        self._note_managers()
        for each in self.changed:
            each()

    async def stand_as(self, role: NodeRole) -> None:
        """Go on in a role for which this node has its certificate. Done twice it does no more."""
        own, client, tasks = self.identity, self._client, self._tasks
        if client is None or tasks is None:
            return
        if role == "worker":
            await self._member.remove()
            others = [each for each in own.managers
                      if parse_remote(each, self.ports.client)[0] != own.address]  # fmt: skip
            own = msgspec.structs.replace(own, role=role, managers=others, phase="ready")
            client.set_members([parse_remote(each, self.ports.client) for each in others])
        else:
            own = msgspec.structs.replace(own, role=role, phase="joining")
        self.place.write(own)
        self.own, self.entered, self.is_refused = own, set(), False
        client.reconnect()
        if role == "manager":
            tasks.start_soon(self._until_settled, own)
        self._tell()

    async def end(self) -> None:
        """Take part no more, and forget that it was so."""
        await self.withdraw()
        self.own = None
        self.ended.set()
        self.ended = trio.Event()
        await trio.to_thread.run_sync(self.place.forget)
        await self.encryption.remove()
        self._tell()

    async def withdraw(self) -> None:
        """Take part no more, until the next ``begin``; the store's member here ends."""
        self._scope.cancel()
        await self._quiet.wait()
        await self._member.stop()
        self._client = self._store = self._tasks = None
        self._mirrors = {}
        self.entered = set()
        before, self.active = self.active, trio.Event()
        before.set()  # who still waited for it waits for the next one
        self.problem = ""

    async def restart_store(self) -> None:
        """Start this node's member anew; return once it answers again, itself."""
        await self._member.restart()
        own = self.identity
        async with open_client(
            [(own.address, self.ports.client)], self.place.store_context
        ) as own_:
            await own_.call("Range", key=b"/nodeagent/", timeout_s=RESTART_S)

    async def say_self(self) -> None:
        """Tell the others what this node is now."""
        await tell_self(self)

    async def forget_store(self) -> None:
        """What this node's member knew."""
        await self._member.remove()

"""Use cases ``cluster init|join|leave``: how an agent comes into a cluster, and out of it."""

import logging
import socket
import ssl
from typing import Final

import msgspec
import trio

from nodeagent.cluster import ca
from nodeagent.cluster.etcd.client import Address
from nodeagent.cluster.place import joiner_context
from nodeagent.cluster.tokens import parse_token
from nodeagent.control.cluster import Cluster
from nodeagent.control.hostaddress import advertised, build_host, parse_remote
from nodeagent.control.parts import Parts
from nodeagent.errors import AgentError, Conflict, Invalid, Missing, Unavailable
from nodeagent.model.cluster import (
    ClusterAdmit,
    ClusterAdmitted,
    ClusterInit,
    ClusterJoin,
    ClusterSelf,
)

log = logging.getLogger(__name__)

FOUND_S: Final = 30.0  # for the first member to answer; 1.5 s seen (2026-11)
JOIN_S: Final = 30.0


class Membership:
    """One change of membership at a time."""

    def __init__(self, parts: Parts, cluster: Cluster) -> None:
        self._parts = parts
        self._cluster = cluster
        self.changing = trio.Lock()

    async def init(self, request: ClusterInit) -> ClusterSelf:
        """Begin a cluster with this agent as its first manager.

        Raises:
            Conflict: it is in one. Invalid: the address is none of this host's.
            Unavailable: etcd is not installed, or does not come up.
        """
        async with self.changing:
            self._check_free()
            address = advertised(request.advertise_addr)
            cluster, node = self._parts.new_id()[:24], self._parts.new_id()[:24]
            own = ClusterSelf(
                cluster=cluster, node_id=node, role="manager", name=socket.gethostname(),
                address=address, managers=[f"{build_host(address)}:{self._cluster.ports.client}"],
                phase="founding", token=self._parts.new_id()[:24],
            )  # fmt: skip
            authority = ca.create_ca(cluster, now=self._parts.now())
            bearer = ca.Bearer(name=f"manager-{node}", role="manager", hosts=(address,))
            pair = ca.issue(authority, bearer, now=self._parts.now())
            self._cluster.place.write_identity(authority.certificate, pair)
            peer = ca.issue_peer(authority, address, now=self._parts.now())
            self._cluster.place.write_peer(peer)
            self._cluster.place.write_founding(authority)
            self._cluster.place.write(own)
            await self._begin(own, FOUND_S, "the cluster's store does not come up")
        self._parts.events.publish("cluster", "init", cluster, "")
        return own

    async def join(self, request: ClusterJoin) -> ClusterSelf:
        """Enter the cluster of a manager, with a token that says in which role.

        Raises:
            Invalid: not a token or address. Refused: the token, or that is another cluster.
            Unavailable: the manager does not answer. Conflict: this agent is in a cluster.
        """
        async with self.changing:
            self._check_free()
            token = parse_token(request.token)
            remote = parse_remote(request.remote, self._cluster.ports.rpc)
            address = advertised(request.advertise_addr, towards=remote[0])
            own = await self._ask_in(token.digest, token.secret, remote, address)
            await self._begin(own, JOIN_S, "the cluster's store does not let this node in")
        self._parts.events.publish("cluster", "join", own.cluster, "")
        return own

    async def _begin(self, own: ClusterSelf, within_s: float, why: str) -> None:
        """Take part, or be as if nothing had been."""
        try:
            await self._cluster.begin(own)
            with trio.fail_after(within_s):
                await self._cluster.wait_active()
        except BaseException as exc:
            problem = self._cluster.problem
            with trio.CancelScope(shield=True):
                await self._cluster.end()
            if isinstance(exc, trio.TooSlowError):
                raise Unavailable(why, reason=problem) from exc
            raise

    async def _ask_in(self, digest: str, secret: str, remote: Address, address: str) -> ClusterSelf:
        """Ask the manager; the secret goes only to who is of the token's cluster."""
        seen: list[bytes] = []
        ask, context = self._cluster.ask, joiner_context()
        found = await ask(remote, context, seen.append, "cluster.authority", {})
        authority = ca.pick_ca(str(found).encode(), digest)

        def check(certificate: bytes) -> None:
            pem = ssl.DER_cert_to_PEM_cert(certificate).encode()
            ca.check_manager(authority, pem, now=self._parts.now())

        name = socket.gethostname()
        csr, key = ca.create_request(name)
        asked = ClusterAdmit(secret=secret, request=csr.decode(), name=name, address=address)
        answer = await ask(remote, context, check, "cluster.admit", asked)
        admitted = msgspec.convert(answer, type=ClusterAdmitted)
        certificate = admitted.certificate.encode()
        ca.check_signed(authority, certificate)
        own = ClusterSelf(
            cluster=admitted.cluster, node_id=admitted.node_id, role=admitted.role, name=name,
            address=address, managers=admitted.managers, phase="joining",
        )  # fmt: skip
        self._cluster.place.write_identity(authority, ca.Pair(certificate=certificate, key=key))
        self._cluster.place.write(own)
        return own

    async def leave(self, *, force: bool) -> None:
        """Leave; a manager takes its member out of the store first.

        Raises:
            Refused: the last manager, or the store does not answer, and not ``force``.
        """
        async with self.changing:
            own = self._cluster.own
            if own is None:
                raise Missing("this agent is in no cluster")
            try:
                await self._say_goodbye(own, force=force)
            except AgentError as exc:
                if not force or isinstance(exc, Invalid):
                    raise
                log.warning("left without a word to the others", extra={"error": str(exc)})
            with trio.CancelScope(shield=True):
                await self._cluster.end()
                await self._forget_networks()
        self._parts.events.publish("cluster", "leave", own.cluster, "")

    async def _forget_networks(self) -> None:
        """Those of the cluster; one with a container here stays until that is gone."""
        inventory = self._parts.inventory
        for record in list(inventory.networks.values()):
            if record.shared is not None and not inventory.members(record.id):
                await inventory.delete(record)

    async def _say_goodbye(self, own: ClusterSelf, *, force: bool) -> None:
        if own.role != "manager":
            managers = self._cluster.managers()
            if not managers:
                raise Unavailable("no manager is up to be told; --force leaves without a word")
            remote = managers[0]
            await self._cluster.ask_manager(remote, "cluster.goodbye", {})
            return
        await self._cluster.admin().take_out(own.node_id, is_last_allowed=force)

    def _check_free(self) -> None:
        if self._cluster.own is not None:
            raise Conflict("this agent is in a cluster already; `cluster leave` first",
                           cluster=self._cluster.own.cluster)  # fmt: skip

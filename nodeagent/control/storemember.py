"""This node's own member of the cluster's store, as long as the node is a manager."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import trio

from nodeagent.cluster import ca
from nodeagent.cluster.etcd.client import EtcdClient
from nodeagent.cluster.member import Member, MemberSpec, build_url, check_installed
from nodeagent.cluster.place import ClusterPlace
from nodeagent.errors import AgentError, Unavailable
from nodeagent.model.cluster import ClusterSelf

ADD_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPorts:
    """Where a node serves others."""

    rpc: int = 2377
    client: int = 2379
    peer: int = 2380
    wireguard: int = 51820
    vxlan: int = 4789


class StoreMember:
    """None runs on a worker."""

    def __init__(self, place: ClusterPlace, ports: ClusterPorts, now: Callable[[], float]) -> None:
        self._place = place
        self._ports = ports
        self._now = now
        self._member: Member | None = None
        self._scope = trio.CancelScope()  # of what starts it again when it ends

    async def begin(self, own: ClusterSelf) -> None:
        """Start what can be started before anybody else is asked.

        Raises:
            Unavailable: etcd is not installed, or cannot be started.
        """
        alone = {own.node_id: self._url(own)}
        if own.phase == "founding":
            await self._start(own, alone, "new")
        elif own.role == "manager" and own.phase in {"ready", "recovering"}:
            await self._start(own, alone, "existing")

    async def join(
        self, own: ClusterSelf, client: EtcdClient, authority: Callable[[], Awaitable[ca.Pair]]
    ) -> None:
        """Become one of the members that are there. Done twice it does nothing more.

        It learns first, without a vote: until it has caught up, and if it never does, the others
        need no more of their like than before.

        Raises:
            Unavailable: not yet; try again. Refused: the authority cannot be read.
        """
        check_installed()
        if not self._place.has_peer():
            await self.certify(own, await authority())
        members = await self._add(own, client)
        await self._start(own, {name: url for name, (url, _) in members.items()}, "existing")
        _, learner = members[own.node_id]
        if learner:
            try:
                await client.call("MemberPromote", ID=learner, timeout_s=ADD_S)
            except AgentError as exc:
                raise Unavailable("this node's member of the store has not caught up yet",
                                  reason=str(exc)) from exc  # fmt: skip

    async def certify(self, own: ClusterSelf, authority: ca.Pair) -> None:
        """A new certificate for this member among the others; only managers have the key."""
        pair = ca.issue_peer(authority, own.address, now=self._now())
        await trio.to_thread.run_sync(self._place.write_peer, pair)

    async def _add(self, own: ClusterSelf, client: EtcdClient) -> dict[str, tuple[str, int]]:
        """By name, peer address and number of one that only learns; this node is among them."""
        url = self._url(own)
        members = (await client.call("MemberList")).members
        if not any(url in each.peerURLs for each in members):
            added = await client.call("MemberAdd", peerURLs=[url], isLearner=True, timeout_s=ADD_S)
            members = added.members
        return {
            (own.node_id if url in each.peerURLs else each.name or "?"): (
                each.peerURLs[0], each.ID if each.isLearner else 0
            )
            for each in members
        }  # fmt: skip

    async def _start(
        self, own: ClusterSelf, members: Mapping[str, str], state: Literal["new", "existing"]
    ) -> None:
        if not self._place.has_store_trust():
            await trio.to_thread.run_sync(self._place.write_store_authority)
        if self._member is None:
            self._member = Member(
                MemberSpec(
                    name=own.node_id, folder=self._place.folder, host=own.address,
                    client_port=self._ports.client, peer_port=self._ports.peer, members=members,
                    state=state, token=own.token, force_new=own.phase == "recovering",
                )
            )  # fmt: skip
        await self._member.start()

    def _url(self, own: ClusterSelf) -> str:
        return build_url(own.address, self._ports.peer)

    async def keep_running(self) -> None:
        """Until cancelled or stopped; nothing, if there is none."""
        if self._member is not None:
            with self._scope:
                await self._member.keep_running()

    async def restart(self) -> None:
        """Start it anew, so that it reads whom to trust."""
        if self._member is not None:
            await self._member.stop()
            await trio.to_thread.run_sync(self._place.write_store_authority)
            await self._member.start()

    async def stop(self) -> None:
        """End it; its data stay."""
        self._scope.cancel()
        self._scope = trio.CancelScope()
        member, self._member = self._member, None
        if member is not None:
            await member.stop()

    async def remove(self) -> None:
        """End it, and forget what it knew."""
        await self.stop()
        await trio.to_thread.run_sync(self._place.forget_member)

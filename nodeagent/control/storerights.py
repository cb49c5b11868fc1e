"""Who may what in the cluster's store: users by the name in a certificate, and their rights.

etcd checks them: managers may all, a worker its own rows, and of a network those that its endpoints
there need, once it has entered it. What is done twice is done.
"""

import logging
from typing import Final

import trio

from nodeagent.cluster.etcd.client import EtcdClient
from nodeagent.cluster.etcd.messages import READ, READWRITE, range_end
from nodeagent.cluster.etcdstore import PREFIX
from nodeagent.errors import AgentError, Unavailable
from nodeagent.model.cluster import NodeRole

log = logging.getLogger(__name__)

CALL_S: Final = 5.0
INSIST_S: Final = 20.0  # etcd wants its members connected for 5 s before it loses one
AGAIN_S: Final = 1.0
GONE: Final = "not found"
EXISTS: Final = "already exist"  # of users, roles and the like
ENABLED: Final = "authentication is enabled"

Permission = tuple[int, bytes, bytes]  # kind, key, end of range


def build_permissions(node_id: str) -> list[Permission]:
    """What a worker may from the beginning. Pure."""
    own = f"{PREFIX}node/{node_id}/".encode()
    return [
        (READ, PREFIX.encode(), b""),  # the present revision is asked for by it
        (READ, f"{PREFIX}trust".encode(), range_end(f"{PREFIX}trust".encode())),
        *((READ, *_range(f"{PREFIX}{each}/")) for each in ("node", "network", "lease", "fence")),
        (READWRITE, own + b"self", b""),
        (READWRITE, own + b"alive", b""),
    ]


def build_network_permissions(network: str, node_id: str) -> list[Permission]:
    """The same of what it may of a network that it has entered. Pure."""
    return [
        (READ, *_range(f"{PREFIX}ep/{network}/")),
        (READWRITE, *_range(f"{PREFIX}ep/{network}/{node_id}/")),
        (READWRITE, *_range(f"{PREFIX}addr/{network}/")),
    ]


def build_volume_permissions(volume: str, node_id: str) -> list[Permission]:
    """What it needs to hold a volume: its own session, and that volume's leases. Pure."""
    return [
        (READ, *_range(f"{PREFIX}lease/")),
        (READ, *_range(f"{PREFIX}fence/")),
        (READWRITE, f"{PREFIX}lease/{volume}".encode(), b""),
        (READWRITE, f"{PREFIX}fence/{node_id}".encode(), b""),
    ]


def _range(prefix: str) -> tuple[bytes, bytes]:
    return prefix.encode(), range_end(prefix.encode())


class StoreRights:
    """Gives and takes them, with the rights of a manager."""

    def __init__(self, client: EtcdClient) -> None:
        self._client = client

    async def begin(self, manager_id: str) -> None:
        """Have the first user, and rights checked from now on."""
        await self._have("UserAdd", name="root", options={"no_password": True})
        await self._have("RoleAdd", name="root")
        await self._have("UserGrantRole", user="root", role="root")
        await self.give("manager", manager_id)
        await self._have("AuthEnable")

    async def give(self, role: NodeRole, node_id: str) -> None:
        """A node's, by its role."""
        name = f"{role}-{node_id}"
        if role == "manager":
            await self._add_user(name, "root")
            return
        await self._have("RoleAdd", name=name)
        await self._grant(name, build_permissions(node_id))
        await self._add_user(name, name)

    async def enter(self, node_id: str, network: str) -> None:
        """What a worker needs to have endpoints on a network."""
        await self._grant(f"worker-{node_id}", build_network_permissions(network, node_id))

    async def enter_volume(self, node_id: str, volume: str) -> None:
        """What a worker needs to hold a volume."""
        await self._grant(f"worker-{node_id}", build_volume_permissions(volume, node_id))

    async def end_worker(self, node_id: str) -> None:
        """Take away what the node has as a worker."""
        await self.insist("UserDelete", name=f"worker-{node_id}")
        await self.insist("RoleDelete", role=f"worker-{node_id}")

    async def end_manager(self, node_id: str) -> None:
        """Take away what it has as a manager, and its member of the store.

        Raises:
            Unavailable: the other members are not well enough to lose one.
        """
        for member in (await self._client.call("MemberList")).members:
            if member.name == node_id:
                # the others must have been well connected for a while
                await self.insist("MemberRemove", ID=member.ID)
        await self.insist("UserDelete", name=f"manager-{node_id}")

    async def _have(self, method: str, /, **fields: object) -> None:
        """Make what may be there already."""
        try:
            await self._client.call(method, timeout_s=CALL_S, **fields)
        except AgentError as exc:
            if EXISTS not in str(exc) and ENABLED not in str(exc):
                raise

    async def _add_user(self, name: str, role: str) -> None:
        await self._have("UserAdd", name=name, options={"no_password": True})
        await self._have("UserGrantRole", user=name, role=role)

    async def _grant(self, role: str, permissions: list[Permission]) -> None:
        for kind, key, end in permissions:
            await self._client.call(
                "RoleGrantPermission",
                name=role,
                perm={"permType": kind, "key": key, "range_end": end},
            )

    async def insist(self, method: str, /, **fields: object) -> None:
        """Ask until it is done; what is not there any more is done."""
        why = ""
        with trio.move_on_after(INSIST_S):
            while True:
                try:
                    await self._client.call(method, timeout_s=CALL_S, **fields)
                except Unavailable as exc:
                    why = str(exc)
                    log.info("the cluster's store cannot do it yet", extra={"why": why})
                    await trio.sleep(AGAIN_S)
                except AgentError as exc:
                    if GONE in str(exc):
                        return
                    raise
                else:
                    return
        raise Unavailable("the cluster's store does not do it: are the other managers up?", why=why)

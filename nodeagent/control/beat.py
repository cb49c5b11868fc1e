"""A node keeps its lease in the cluster's store alive, and the row true that says what it is."""

import logging
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec
import trio

from nodeagent.cluster import ca
from nodeagent.errors import Missing, Unavailable, kind_of
from nodeagent.model.cluster import NodeSelf
from nodeagent.state.store import Put

if TYPE_CHECKING:
    from nodeagent.control.cluster import Cluster

log = logging.getLogger(__name__)

ALIVE_S: Final = 6.0  # after which a silent node counts as down
BEAT_S: Final = 2.0


async def keep_telling(cluster: "Cluster") -> NoReturn:
    """For ever, through any failure; ``problem`` says why it cannot be done now."""
    lease = 0
    while True:
        try:
            lease = lease or await _say_alive(cluster)
            await cluster.store.renew(lease)
            await tell_self(cluster)
            cluster.problem, cluster.is_refused = "", False
        except Missing:
            lease = 0
            continue
        except Unavailable as exc:
            if not cluster.problem:
                log.warning("the cluster's store cannot be used", extra={"error": str(exc)})
            cluster.problem = str(exc)
        except Exception as exc:
            if not kind_of(exc):
                raise
            cluster.problem = str(exc)  # removed from the cluster, or in another role
            cluster.is_refused = True
            log.warning("the cluster refuses this node", extra={"error": str(exc)})
        await trio.sleep(BEAT_S)


async def _say_alive(cluster: "Cluster") -> int:
    lease = await cluster.store.grant(ALIVE_S)
    await cluster.store.commit(Put(f"node/{cluster.identity.node_id}/alive", b"", lease=lease))
    return lease


async def tell_self(cluster: "Cluster") -> None:
    """Write this node's row, if it is not what it says."""
    own, ports, place = cluster.identity, cluster.ports, cluster.place
    authority = place.authority()
    is_settled = own.role == "worker" or place.has_store_authority()
    row = NodeSelf(
        address=own.address, version=cluster.version, key=await _public_key(cluster),
        wireguard_port=ports.wireguard, rpc_port=ports.rpc,
        trusts=ca.digests_of(authority) if is_settled else [],
        signed_by=ca.signer_of(authority, place.certificate()),
    )  # fmt: skip
    if cluster.selves().get(own.node_id) != row:
        await cluster.store.commit(Put(f"node/{own.node_id}/self", msgspec.msgpack.encode(row)))


async def _public_key(cluster: "Cluster") -> str:
    """This node's, for encrypted networks; "" if it has none now, which ``info`` tells."""
    try:
        return await cluster.encryption.key()
    except Exception as exc:
        if not kind_of(exc):
            raise
        return ""

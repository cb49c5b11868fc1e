"""A node is a worker or a manager as the managers say, and changes from one to the other.

What it is follows from its certificate: a manager signs one for the role that the node has in the
store. Each step may be done again, so a kill between two of them is mended by the next look.
"""

import logging
from typing import Final, NoReturn

from nodeagent.control.cluster import Cluster
from nodeagent.control.parts import Parts
from nodeagent.control.wakes import Wakes
from nodeagent.errors import kind_of

log = logging.getLogger(__name__)

LOOK_S: Final = 5.0


class Standing:
    """One for the agent; outside a cluster it does nothing."""

    def __init__(self, parts: Parts, cluster: Cluster) -> None:
        self._parts = parts
        self._cluster = cluster
        self._wakes = Wakes()
        cluster.changed.append(self._wakes.wake)

    async def run(self) -> NoReturn:
        """Look for ever, through any failure."""
        while True:
            await self._wakes.wait(LOOK_S)
            try:
                await self._look()
            except Exception as exc:
                if not kind_of(exc):
                    raise
                log.warning("the node stays in its role for now", extra={"error": str(exc)})

    async def _look(self) -> None:
        cluster, own = self._cluster, self._cluster.own
        if own is None or own.phase != "ready":
            return
        spec = cluster.specs().get(own.node_id)
        is_told = spec is not None and spec.role != own.role
        if not is_told and not cluster.is_refused:
            return
        role = await cluster.renewal().renew()
        if role != own.role and role in {"manager", "worker"}:
            log.info("the node changes its role", extra={"from": own.role, "to": role})
            await cluster.stand_as("manager" if role == "manager" else "worker")
            self._parts.events.publish("node", "role", own.node_id, own.name, role=role)

"""The nodes of a cluster as people and programs look at them, and their removal."""

from nodeagent.control.cluster import Cluster
from nodeagent.control.creation import matches_labels
from nodeagent.control.filters import Filters, check_known
from nodeagent.errors import Busy, Invalid, Missing, Unavailable
from nodeagent.model.cluster import ClusterView, NodeRole, NodeSelf, NodeSpec, NodeView, Warned

LS = ("id", "name", "label", "role")
FEW, MANY = 1, 7  # managers; advised are 3 or 5


class Nodes:
    """Use cases ``node …`` and ``cluster info``."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def info(self) -> ClusterView:
        """This agent's place in a cluster."""
        own = self._cluster.own
        if own is None:
            return ClusterView(state="inactive")
        specs = self._cluster.specs().values()
        managers = sum(each.role == "manager" for each in specs)
        status = await self._cluster.encryption.status()
        return ClusterView(
            state="active",
            id=own.cluster,
            node_id=own.node_id,
            role=own.role,
            address=own.address,
            nodes=len(specs),
            managers=managers,
            problem=self._cluster.problem,
            encryption=status.problem or status.backend,
            warnings=warn_managers(managers),
        )

    def ls(self, filters: Filters) -> list[NodeView]:
        """Nodes by name."""
        check_known(filters, LS)
        return [
            each
            for each in self._views()
            if _fits(filters, "id", each.id)
            and _fits(filters, "name", each.hostname)
            and (each.role in filters.get("role", [each.role]))
            and matches_labels(each.labels, filters.get("label", []))
        ]

    def _views(self) -> list[NodeView]:
        own = self._cluster.identity.node_id
        if not self._cluster.active.is_set():
            raise Unavailable(
                "the cluster's store has not been read since this agent started",
                reason=self._cluster.problem or "it is being asked",
            )
        selves, alive = self._cluster.selves(), self._cluster.alive()
        views = [
            _view(spec, selves.get(id_), is_up=id_ in alive, is_self=id_ == own)
            for id_, spec in self._cluster.specs().items()
        ]
        return sorted(views, key=lambda each: (each.hostname, each.id))

    def find(self, name: str) -> NodeView:
        """By id, name, unique id prefix or ``self`` (Missing, Invalid when ambiguous)."""
        views = self._views()
        found = [
            each
            for each in views
            if name in {each.id, each.hostname} or (name == "self" and each.is_self)
        ] or [each for each in views if name and each.id.startswith(name)]
        if not found:
            raise Missing("no such node", name=name)
        if len(found) > 1:
            raise Invalid("more than one node has this name; give the id", name=name)
        return found[0]

    async def change_role(self, name: str, role: NodeRole) -> Warned:
        """Promote or demote a node; what is to be said of the number of managers then."""
        node = self.find(name)
        await self._cluster.admin().change_role(node.id, role)
        others = [each for each in self._cluster.specs().items() if each[0] != node.id]
        managers = sum(spec.role == "manager" for _, spec in others) + (role == "manager")
        return Warned(warnings=warn_managers(managers))

    async def rm(self, name: str, *, force: bool) -> None:
        """Forget a node (Busy: it is up, and not ``force``)."""
        node = self.find(name)
        if node.is_self:
            raise Invalid("this is the agent itself: use `cluster leave`", field="name", name=name)
        if node.status == "ready" and not force:
            raise Busy("the node is up: let it leave, or use --force", field="name", name=name)
        await self._cluster.admin().take_out(node.id)


def _fits(filters: Filters, key: str, value: str) -> bool:
    wanted = filters.get(key, ())
    return not wanted or any(value.startswith(each) for each in wanted)


def _view(spec: NodeSpec, own: NodeSelf | None, *, is_up: bool, is_self: bool) -> NodeView:
    return NodeView(
        id=spec.id,
        hostname=spec.name,
        status="ready" if is_up else "down",
        availability=spec.availability,
        role=spec.role,
        address=own.address if own else "",
        engine_version=own.version if own else "",
        labels=spec.labels,
        is_self=is_self,
        joined_at=spec.joined,
    )


def warn_managers(count: int) -> list[str]:
    """What is to be said of that number of managers. Pure."""
    if count > MANY:
        return [f"{count} managers: each change waits for more than half of them; 3 or 5 do"]
    if count > FEW and count % 2 == 0:
        return [
            f"{count} managers bear the loss of no more than {count - 1} do, and one more can fail"
        ]
    return []

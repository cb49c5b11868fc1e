"""Remove the containers that do not run, those that filters mean."""

from nodeagent.control.filters import Filters, Pruning
from nodeagent.control.lifecycle import Lifecycle
from nodeagent.control.parts import Parts
from nodeagent.control.sizes import Sizes
from nodeagent.errors import Conflict, Missing
from nodeagent.model.volume import Pruned


class Pruner:
    """The use case of ``container prune``."""

    def __init__(self, parts: Parts, lifecycle: Lifecycle, sizes: Sizes) -> None:
        self._parts = parts
        self._lifecycle = lifecycle
        self._sizes = sizes

    async def prune(self, filters: Filters) -> Pruned:
        """Remove what is created or exited, was made before ``until`` and fits the labels.

        Raises:
            Invalid: a filter means nothing; nothing was removed.
        """
        pruning = Pruning.parse(filters, now=self._parts.now())
        deleted, freed = [], 0
        for record in list(self._parts.inventory.containers.values()):
            idle = record.phase in {"created", "exited"}
            if not idle or not pruning.means(record.labels, record.created):
                continue
            size = await self._sizes.writable(record.id)
            try:
                await self._lifecycle.rm(record.id, force=False, volumes=False)
            except (Conflict, Missing):
                continue  # somebody started or removed it meanwhile
            deleted.append(record.id)
            freed += size
        return Pruned(deleted=deleted, space_reclaimed=freed)

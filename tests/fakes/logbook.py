"""Logs in memory, for tests of the use cases."""

from pathlib import Path

import trio

from runtime.contract.logs import LogFile, Tidied
from runtime.logs.shipped import BEGINNING


class FakeLogbook:
    """Sizes and rotated files as a test sets them."""

    def __init__(self, faults):
        self._faults = faults
        self.sizes = {}
        self.rows = {}  # of LogFile, by container
        self.tidied = []
        self.batches = []  # that a shipment reads, whoever's it is
        self.news = trio.Event()
        self.shipped = {}

    def path(self, container_id):
        return Path("/nowhere") / container_id

    def size(self, container_id):
        return self.sizes.get(container_id, 0)

    async def rotate(self, container_id):
        await self._faults.pass_("rotate")
        row = self.rows.setdefault(container_id, [])
        number = row[-1].generation + 1 if row else 1
        size = self.sizes.pop(container_id)
        row.append(LogFile(generation=number, size_bytes=size, compressed=False))

    async def tidy(self, container_id, *, keep, compress, ended):
        await self._faults.pass_("tidy")
        self.tidied.append((container_id, keep, compress))
        row = self.rows.get(container_id, [])
        gone = len(row) - keep
        del row[: max(gone, 0)]
        return Tidied(dropped=max(gone, 0), is_complete=True)

    async def files(self, container_id):
        return self.rows.get(container_id, [])

    async def drop(self, container_id, generation):
        await self._faults.pass_("drop")
        row = self.rows[container_id]
        self.rows[container_id] = [each for each in row if each.generation != generation]

    async def remove(self, container_id):
        await self._faults.pass_("remove_logs")

    async def read_batches(self, container_id, after, ended):
        """The batches behind ``after``; more may come until ``ended`` returns."""
        over, at = False, 0
        while True:
            while at < len(self.batches):
                batch, at = self.batches[at], at + 1
                if batch[-1].cursor > after:
                    yield batch
            if over:
                return
            self.news = trio.Event()
            async with trio.open_nursery() as nursery:

                async def wait_ended(scope):
                    nonlocal over
                    await ended()
                    over = True
                    scope.cancel()

                nursery.start_soon(wait_ended, nursery.cancel_scope)
                await self.news.wait()
                nursery.cancel_scope.cancel()

    def write(self, batch):
        self.batches.append(batch)
        self.news.set()

    async def read_shipped(self, container_id):
        await self._faults.pass_("read_shipped")
        return self.shipped.get(container_id, BEGINNING)

    async def write_shipped(self, container_id, cursor):
        await self._faults.pass_("write_shipped")
        self.shipped[container_id] = cursor

"""Logs stay bounded: looked at every few seconds, rotated where they have grown."""

import logging
from typing import NoReturn

import trio

from nodeagent.control.parts import Parts
from nodeagent.errors import kind_of

log = logging.getLogger(__name__)

PERIOD_S = 0.5  # a flood of 100 MB/s overshoots by 50 MB; a look costs 5 us a container
KEEP = 4  # older files


class LogKeeper:
    """Rotates the logs of running containers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def run(self) -> NoReturn:
        """Look for ever; a log that cannot be rotated is told and tried again."""
        while True:
            await trio.sleep(PERIOD_S)
            for record in list(self._parts.inventory.containers.values()):
                if record.phase == "running":
                    await self.look(record.id)

    async def look(self, container_id: str) -> None:
        """Rotate one log if it is too large."""
        limit = self._parts.settings.log_max_bytes
        path = self._parts.runtime.log_path(container_id)
        try:
            if limit and path.stat().st_size > limit:
                await self._parts.runtime.rotate_logs(container_id, keep=KEEP)
        except Exception as exc:
            if not isinstance(exc, OSError) and not kind_of(exc):
                raise
            log.warning("log not rotated", extra={"id": container_id[:12], "error": str(exc)})

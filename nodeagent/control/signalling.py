"""Having a container's processes end, freeze and thaw."""

import trio

from nodeagent.control.lives import Lives
from nodeagent.control.parts import Parts
from nodeagent.errors import Busy, Conflict, kind_of
from nodeagent.model.container import ContainerRecord

KILL = 9
KILL_S = 10.0  # a killed process that is not gone by then is stuck in the kernel; a guess


class Signaller:
    """What stop, kill, pause and rm do to processes; whose turn it is, their callers settle."""

    def __init__(self, parts: Parts, lives: Lives) -> None:
        self._parts = parts
        self._lives = lives

    async def end(self, record: ContainerRecord, number: int) -> None:
        """Send a signal that is to end it; that it is gone already is what was wanted."""
        try:
            await self._parts.runtime.kill(record.id, number)
            if number != KILL and self._lives.is_paused(record.id):
                await self._parts.runtime.unpause(record.id)  # or it would not hear of it
                self._lives.of(record.id).paused = False
        except Exception as exc:
            if kind_of(exc) != "missing":
                raise

    async def kill(self, record: ContainerRecord, ended: trio.Event) -> None:
        """KILL, and wait for the end.

        Raises:
            Busy: it does not end.
        """
        await self.end(record, KILL)
        with trio.move_on_after(KILL_S):
            await ended.wait()
        if not ended.is_set():
            raise Busy("the container does not end: the kernel holds its process", id=record.id)

    async def freeze(self, record: ContainerRecord, *, frozen: bool) -> None:
        """Freeze or thaw all processes."""
        check_runs(record)
        life = self._lives.of(record.id)
        if life.paused is frozen:
            words = "is paused already" if frozen else "is not paused"
            raise Conflict(f"the container {words}", field="name", name=record.name)
        if frozen:
            await self._parts.runtime.pause(record.id)
        else:
            await self._parts.runtime.unpause(record.id)
        life.paused = frozen


def check_runs(record: ContainerRecord) -> None:
    """Refuse what only a running container can have done to it (Conflict)."""
    if record.phase != "running":
        raise Conflict("the container does not run", field="name", name=record.name)

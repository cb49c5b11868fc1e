"""What is in memory about containers: whose turn it is, and who waits for what."""

from collections.abc import Awaitable, Callable

import trio

from nodeagent.control.health import Health
from nodeagent.model.container import ContainerRecord


async def finish_in(nursery: trio.Nursery, work: Callable[[], Awaitable[None]]) -> None:
    """Do the work to its end, also when the caller hangs up meanwhile; only the nursery ends it."""
    failed: list[Exception] = []
    done = trio.Event()

    async def run() -> None:
        try:
            await work()
        except Exception as exc:  # noqa: BLE001  raised below, to the caller
            failed.append(exc)
        finally:
            done.set()

    nursery.start_soon(run)
    await done.wait()
    if failed:
        raise failed[0]


class Life:
    """One container's lock, its flags, and the events of its run."""

    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.ended = trio.Event()  # of the present run, or of the next one
        self.removed = trio.Event()
        self.last: ContainerRecord | None = None  # as it was when its last run ended
        self.pid = 0
        self.paused = False
        self.delay_s = 0.0  # of the last restart by policy
        self.restarting: trio.CancelScope | None = None  # while it waits for its next start
        self.try_at = 0.0  # of that start, in seconds since the epoch
        self.health: Health | None = None  # of this run or the last; None without a check
        self.checkup = trio.CancelScope()  # the probes of this run
        self.healthy_at = 0.0  # when it was last found healthy; trio's clock, as the next
        self.act_at = float("inf")  # when what was asked for unhealthy ones is to be done
        self.act_delay_s = 0.0  # of the last time
        self.is_kept = False  # it is being restarted: this end is not the one that removes it

    def begin(self) -> None:
        """A run begins; who waits for the next end already, waits for this one."""
        if self.ended.is_set():
            self.ended = trio.Event()

    def end(self, record: ContainerRecord) -> None:
        """The run ended, or did not come to be."""
        self.last = record
        self.ended.set()

    async def wait(self, record: ContainerRecord, condition: str) -> ContainerRecord:
        """The record as of the moment when not-running, next-exit or removed came true."""
        is_up = record.phase in {"running", "starting"}
        if condition == "removed":
            await self.removed.wait()
        elif condition == "next-exit" or is_up:
            if not is_up:
                self.begin()
            await self.ended.wait()
        else:
            return record
        return self.last or record

    def give_up_restart(self) -> bool:
        """Forget the restart that is to come; whether there was one."""
        if self.restarting is None:
            return False
        self.restarting.cancel()
        self.restarting = None
        return True


class Lives:
    """The lives of the containers that exist."""

    def __init__(self) -> None:
        self._known: dict[str, Life] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, id_: str) -> Life:
        """The life of a container that exists."""
        return self._known.setdefault(id_, Life())

    def is_paused(self, id_: str) -> bool:
        """Whether its processes are frozen."""
        return id_ in self._known and self._known[id_].paused

    def try_at(self, id_: str) -> float:
        """When the next start by policy is tried; 0 if none is to come."""
        return self._known[id_].try_at if self.is_restarting(id_) else 0.0

    def is_restarting(self, id_: str) -> bool:
        """Whether it is down for its back-off only."""
        return id_ in self._known and self._known[id_].restarting is not None

    def health(self, id_: str) -> Health | None:
        """What its probes found; None without a check."""
        return self._known[id_].health if id_ in self._known else None

    def pid(self, id_: str) -> int:
        """Its first process; 0 if it is down."""
        return self._known[id_].pid if id_ in self._known else 0

    def forget(self, id_: str) -> None:
        """It was removed: tell who waits for that."""
        life = self._known.pop(id_, None)
        if life is not None:
            life.removed.set()

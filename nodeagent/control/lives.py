"""What is in memory about containers: whose turn it is, and who waits for what."""

import trio

from nodeagent.model.container import ContainerRecord


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
        self.is_kept = False  # it is being restarted: this end is not the one that removes it

    def begin(self) -> None:
        """A run begins; who waits for the next end already, waits for this one."""
        if self.ended.is_set():
            self.ended = trio.Event()

    def end(self, record: ContainerRecord) -> None:
        """The run ended, or did not come to be."""
        self.last = record
        self.ended.set()

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

    def is_restarting(self, id_: str) -> bool:
        """Whether it is down for its back-off only."""
        return id_ in self._known and self._known[id_].restarting is not None

    def pid(self, id_: str) -> int:
        """Its first process; 0 if it is down."""
        return self._known[id_].pid if id_ in self._known else 0

    def forget(self, id_: str) -> None:
        """It was removed: tell who waits for that."""
        life = self._known.pop(id_, None)
        if life is not None:
            life.removed.set()

"""What happens, for whoever listens: a bounded history and bounded subscribers."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import trio

from nodeagent.model.container import ContainerRecord
from nodeagent.model.system import Event

HISTORY = 4096  # events kept for --since, and for a slow subscriber; a guess, some 2 MB each


class Subscriber:
    """A queue that drops its oldest entry when full, and says so."""

    def __init__(self, history: list[Event]) -> None:
        self._queue: deque[Event] = deque(history, maxlen=HISTORY)
        self._wake = trio.Event()
        self._dropped = 0

    def put(self, event: Event) -> None:
        """Add an event; never blocks."""
        self._dropped += len(self._queue) == HISTORY
        self._queue.append(event)
        self._wake.set()

    async def receive(self) -> Event:
        """The next event; after a loss first an ``events-dropped`` one with the count."""
        while not self._queue:
            self._wake = trio.Event()
            await self._wake.wait()
        if not self._dropped:
            return self._queue.popleft()
        count, self._dropped = self._dropped, 0
        return Event(
            time_ns=self._queue[0].time_ns,
            type="agent",
            action="events-dropped",
            id="",
            name="",
            attributes={"count": str(count)},
        )


class Events:
    """Publishes events and remembers the last ones."""

    def __init__(self, now: Callable[[], float], history: Iterable[Event] = ()) -> None:
        self._now = now
        self._history: deque[Event] = deque(history, maxlen=HISTORY)
        self.unwritten: deque[Event] = deque(maxlen=HISTORY)  # for whoever keeps them
        self._wake = trio.Event()
        self._subscribers: set[Subscriber] = set()

    def publish(self, type_: str, action: str, id_: str, name: str, **attributes: str) -> None:
        """Tell everybody; never blocks."""
        self._add(type_, action, id_, name, attributes)

    def _add(
        self, type_: str, action: str, id_: str, name: str, attributes: Mapping[str, str]
    ) -> None:
        event = Event(
            time_ns=int(self._now() * 1e9),
            type=type_,
            action=action,
            id=id_,
            name=name,
            attributes=dict(attributes),
        )
        self._history.append(event)
        self.unwritten.append(event)
        self._wake.set()
        for subscriber in self._subscribers:
            subscriber.put(event)

    def tell(self, record: ContainerRecord, action: str, /, **attributes: str) -> None:
        """Tell of a container, with its image and its labels as Docker does."""
        told = {**record.labels, "image": record.image_name, **attributes}
        self._add("container", action, record.id, record.name, told)

    async def wait_unwritten(self) -> None:
        """Return once there is something to write."""
        while not self.unwritten:
            self._wake = trio.Event()
            await self._wake.wait()

    def drop_written(self, batch: Sequence[Event]) -> None:
        """These need not be written again."""
        last = batch[-1]
        if any(each is last for each in self.unwritten):  # else a flood pushed them all out
            while self.unwritten.popleft() is not last:
                pass

    def history(self, since_ns: int) -> list[Event]:
        """Remembered events from ``since_ns`` on."""
        return [event for event in self._history if event.time_ns >= since_ns]

    @contextmanager
    def subscribe(self, since_ns: int) -> Iterator[Subscriber]:
        """Remembered events from ``since_ns`` on, then new ones."""
        subscriber = Subscriber(self.history(since_ns))
        self._subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)

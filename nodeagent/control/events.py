"""What happens, for whoever listens: a bounded history and bounded subscribers."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import trio

from nodeagent.model.system import Event

HISTORY = 4096  # events kept for --since; a guess, about 2 MB at most
QUEUE = 1024  # events a slow subscriber may lag behind before the oldest are dropped


class _Subscriber:
    """A queue that drops its oldest entry when full, and counts."""

    def __init__(self) -> None:
        self.queue: deque[Event] = deque(maxlen=QUEUE)
        self.wake = trio.Event()
        self.dropped = 0

    def put(self, event: Event) -> None:
        self.dropped += len(self.queue) == QUEUE
        self.queue.append(event)
        self.wake.set()


class Events:
    """Publishes events and remembers the last ones."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._history: deque[Event] = deque(maxlen=HISTORY)
        self._subscribers: set[_Subscriber] = set()

    def publish(self, type_: str, action: str, id_: str, name: str, **attributes: str) -> None:
        """Tell everybody; never blocks."""
        event = Event(
            time_ns=int(self._now() * 1e9),
            type=type_,
            action=action,
            id=id_,
            name=name,
            attributes=attributes,
        )
        self._history.append(event)
        for subscriber in self._subscribers:
            subscriber.put(event)

    def history(self, since_ns: int) -> list[Event]:
        """Remembered events from ``since_ns`` on."""
        return [event for event in self._history if event.time_ns >= since_ns]

    @contextmanager
    def _subscribed(self) -> Iterator[_Subscriber]:
        subscriber = _Subscriber()
        self._subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)

    async def follow(self, since_ns: int) -> AsyncIterator[Event]:
        """Remembered events from ``since_ns`` on, then new ones until cancelled.

        A subscriber that lags more than 1,024 events gets an ``agent``/``events-dropped`` event.
        """
        with self._subscribed() as subscriber:
            for event in self.history(since_ns):
                yield event
            while True:
                await subscriber.wake.wait()
                subscriber.wake = trio.Event()
                if subscriber.dropped:
                    yield self._lag(subscriber)
                while subscriber.queue:
                    yield subscriber.queue.popleft()

    def _lag(self, subscriber: _Subscriber) -> Event:
        count, subscriber.dropped = subscriber.dropped, 0
        return Event(
            time_ns=int(self._now() * 1e9),
            type="agent",
            action="events-dropped",
            id="",
            name="",
            attributes={"count": str(count)},
        )

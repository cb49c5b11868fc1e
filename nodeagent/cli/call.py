"""One run of one verb: its words, its flags, and the agent it talks to."""

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

from nodeagent.cli.grammar import UsageError, Values

if TYPE_CHECKING:
    from nodeagent.rpc.sync_client import SyncClient, SyncStream

Row = dict[str, object]
T = TypeVar("T")

WINDOW_ITEMS = 64  # unread items of a stream before the agent waits for us; guess


class CommandFailed(Exception):
    """A failure that the CLI itself noticed; the message is for people."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Call:
    """What a verb's function is given; the agent is reached at the first use."""

    def __init__(
        self,
        *,
        values: Values,
        words: list[str],
        host: str,
        environ: Mapping[str, str],
        stack: ExitStack,
    ) -> None:
        self.values = values
        self.words = words
        self.host = host
        self.environ = environ
        self._stack = stack
        self._client: SyncClient | None = None

    def with_words(self, values: Values, words: list[str]) -> "Call":
        """The same run with another command line."""
        return Call(
            values=values, words=words, host=self.host, environ=self.environ, stack=self._stack
        )

    @property
    def client(self) -> "SyncClient":
        """The connection to the agent, made now if there is none."""
        if self._client is None:
            from nodeagent.rpc.sync_client import open_sync_client

            try:
                self._client = self._stack.enter_context(open_sync_client(self.host, self.environ))
            except ValueError as exc:
                raise UsageError(
                    f"{exc} (from --host or NODEAGENT_HOST: {self.host!r}); write unix:///PATH or tcp://HOST:PORT"
                ) from exc
        return self._client

    def rpc(self, method: str, **params: object) -> object:
        """Make a call that answers nothing of interest, or something unshaped."""
        return self._again(lambda: self.client.call(method, params))

    def row(self, method: str, **params: object) -> Row:
        """Make a call that answers one object."""
        return self._again(lambda: self.client.call_as(dict[str, object], method, params))

    def rows(self, method: str, **params: object) -> list[Row]:
        """Make a call that answers a list of objects."""
        return self._again(lambda: self.client.call_as(list[dict[str, object]], method, params))

    def _again(self, call: Callable[[], T]) -> T:
        """Make a call, and once more on a new connection if it was refused before it began.

        So answers an agent that is being replaced; the next one takes the new connection.
        """
        from nodeagent.rpc.errors import RpcError

        try:
            return call()
        except RpcError as exc:
            if exc.fields.get("begun") is not False:
                raise
        self._client = None
        return call()

    def open_stream(self, method: str, /, **params: object) -> "SyncStream":
        """Begin a call with items."""
        return self.client.stream(method, params)

    def for_each_word(self, act: Callable[[str], object]) -> int:
        """Do it for each name, printing what it returns, else the name; go on after an error."""
        return go_on(self.words, lambda name: print(act(name) or name, flush=True))


def go_on(things: Iterable[T], act: Callable[[T], object]) -> int:
    """Do it for each; tell errors as they come and answer 1 if there were any."""
    from nodeagent.rpc.errors import ConnectionLost, RpcError

    exit_code = 0
    for thing in things:
        try:
            act(thing)
        except ConnectionLost:
            raise
        except RpcError as exc:
            complain(str(exc))
            exit_code = 1
    return exit_code


def as_row(value: object) -> Row:
    """Take an answer or item as an object.

    Raises:
        CommandFailed: it is none.
    """
    if isinstance(value, dict):
        return value
    raise CommandFailed(_unlike("an object", value))


def pick(row: object, key: str, kind: type[T]) -> T:
    """Take a field of an answer.

    Raises:
        CommandFailed: it is not there, or of another kind.
    """
    value = as_row(row).get(key)
    if isinstance(value, kind):
        return value
    raise CommandFailed(_unlike(f"{key} of kind {kind.__name__}", row))


def _unlike(wanted: str, value: object) -> str:
    return f"the agent's answer lacks {wanted}: {value!r}; is the client of the agent's version?"


def complain(message: str) -> None:
    """Tell an error."""
    print(f"nodeagent: {message}", file=sys.stderr, flush=True)


def parse_pairs(items: Iterable[str], flag: str) -> dict[str, str]:
    """Read ``K=V`` items; ``K`` alone has an empty value."""
    pairs = {}
    for item in items:
        key, _, value = item.partition("=")
        if not key:
            raise UsageError(f"--{flag}: {item!r} has no name before '='; write NAME=VALUE")
        pairs[key] = value
    return pairs


def parse_filters(items: Iterable[str]) -> dict[str, list[str]]:
    """Read ``--filter K=V`` items; the same key may come several times."""
    filters: dict[str, list[str]] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not key or not equals:
            raise UsageError(f"--filter: {item!r} is no filter; write KEY=VALUE, e.g. label=a=b")
        filters.setdefault(key.strip().lower(), []).append(value.strip())
    return filters

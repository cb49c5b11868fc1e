"""A person or a pipe at a container: terminal, input, output, signals."""

import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nodeagent.cli.call import CommandFailed, pick
from nodeagent.cli.detach import DetachFilter

if TYPE_CHECKING:
    from nodeagent.rpc.sync_client import SyncStream

PROXIED: Final = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
_STDIN: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """How we sit at the container; ``on_signal`` None: signals are ours, not the container's."""

    tty: bool
    stdin: bool
    detach_keys: bytes
    on_signal: Callable[[int], None] | None = None


def check_terminal(seat: Seat) -> None:
    """Refuse a terminal in the container for an input that is none, as Docker does.

    Raises:
        CommandFailed: standard input is no terminal.
    """
    if seat.tty and seat.stdin and not os.isatty(_STDIN):
        raise CommandFailed("the input device is not a TTY; leave -t out, or -i")


def await_ready(stream: "SyncStream") -> None:
    """Wait for the first item, which says that the attachment stands.

    Raises:
        RpcError: it could not be made.
    """
    for _ in stream:
        return
    stream.result()


def sit(stream: "SyncStream", seat: Seat) -> object:
    """Pass input, output, signals and sizes until the call ends; None if left by detach keys.

    Raises:
        RpcError: the call failed.
    """
    raw = seat.tty and seat.stdin
    with raw_terminal() if raw else nullcontext(), _wakes(stream, seat) as wakes:
        if seat.tty:
            _send_size(stream)
        return stream.interact(
            write_item,
            stdin_fd=_STDIN if seat.stdin else None,
            filter_input=_detach_filter(stream, seat) if raw else bytes,
            wakes=wakes,
        )


def _detach_filter(stream: "SyncStream", seat: Seat) -> Callable[[bytes], bytes | None]:
    keys = DetachFilter(seat.detach_keys)

    def filter_input(data: bytes) -> bytes | None:
        passed, is_complete = keys.feed(data)
        if is_complete:
            stream.send_input(passed)
            return None
        return passed

    return filter_input


def write_item(item: object) -> None:
    """Write a piece of output to the stream it belongs to."""
    fd = 2 if pick(item, "stream", str) == "stderr" else 1
    data = memoryview(pick(item, "data", bytes))
    # Not sys.stdout: under PYTHONUNBUFFERED it drops what a signal kept from being written.
    while data:
        data = data[os.write(fd, data) :]


@contextmanager
def raw_terminal() -> Iterator[None]:
    """Let each key through as it is; the terminal is put back whatever happens."""
    before = termios.tcgetattr(_STDIN)
    try:
        tty.setraw(_STDIN)
        yield
    finally:
        termios.tcsetattr(_STDIN, termios.TCSADRAIN, before)


@contextmanager
def _wakes(stream: "SyncStream", seat: Seat) -> Iterator[Mapping[int, Callable[[], None]]]:
    """Turn signals into readable bytes of a pipe, and handle them from there."""
    actions: dict[int, Callable[[int], None]] = {}
    if seat.tty:
        actions |= dict.fromkeys(_ENDING, _end)
        actions[signal.SIGWINCH] = lambda _number: _send_size(stream)
    elif seat.on_signal is not None:
        actions |= dict.fromkeys(PROXIED, seat.on_signal)
    read_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    handlers = {number: signal.signal(number, lambda *_: None) for number in actions}
    old_fd = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    try:
        yield {read_fd: lambda: _handle(os.read(read_fd, 4096), actions)}
    finally:
        signal.set_wakeup_fd(old_fd)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(read_fd)
        os.close(write_fd)


def _handle(numbers: bytes, actions: Mapping[int, Callable[[int], None]]) -> None:
    for number in numbers:
        # A signal with a handler of its own (SIGINT at a terminal) also writes its byte.
        if number in actions:
            actions[number](number)


def _end(number: int) -> None:
    """End by an exception, so that the terminal is put back on the way."""
    raise SystemExit(128 + number)


def terminal_size() -> tuple[int, int]:
    """Rows and columns of our terminal."""
    size = shutil.get_terminal_size()
    return size.lines, size.columns


def _send_size(stream: "SyncStream") -> None:
    # COLUMNS and LINES are of the shell that started us; the terminal itself knows better.
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        return
    stream.resize(size.lines, size.columns)

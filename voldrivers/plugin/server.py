"""The socket of a plugin that we are: HTTP/1.1 with small bodies, one handler."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import h11
import trio

from voldrivers.errors import Conflict
from voldrivers.plugin.wire import MEDIA_TYPE

BODY_MAX_BYTES: Final = 1 << 20
RECEIVE_BYTES: Final = 64 << 10
REQUEST_S: Final = 30.0  # for a request to arrive once it has begun
TOO_LARGE: Final = 413

Answer = Callable[[str, bytes], Awaitable[tuple[int, bytes]]]


async def serve(path: Path, answer: Answer) -> None:
    """Serve until cancelled. Only root reaches the socket.

    Raises:
        Conflict: somebody answers there already.
    """
    await _clear(path)
    await trio.Path(path.parent).mkdir(parents=True, exist_ok=True)
    listener = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    try:
        await listener.bind(str(path))
        await trio.Path(path).chmod(0o600)
        listener.listen()
        await trio.serve_listeners(partial(_client, answer), [trio.SocketListener(listener)])
    finally:
        listener.close()
        with trio.CancelScope(shield=True):
            await trio.Path(path).unlink(missing_ok=True)


async def _clear(path: Path) -> None:
    """Remove the socket of one that ended."""
    if not await trio.Path(path).is_socket():
        return
    try:
        await (await trio.open_unix_socket(str(path))).aclose()
    except OSError:
        await trio.Path(path).unlink()
    else:
        raise Conflict("another plugin serves there", path=path)


async def _client(answer: Answer, stream: trio.SocketStream) -> None:
    connection = h11.Connection(h11.SERVER)
    try:
        while await _converse(connection, stream, answer):
            connection.start_next_cycle()
    except (trio.BrokenResourceError, trio.TooSlowError, h11.ProtocolError):
        return  # the client's affair: gone, slow or not speaking HTTP
    finally:
        await trio.aclose_forcefully(stream)


async def _converse(connection: h11.Connection, stream: trio.SocketStream, answer: Answer) -> bool:
    """One request and its answer; whether another may follow."""
    request, body = None, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            # between requests a client may rest as long as it likes
            with trio.fail_after(REQUEST_S if request else float("inf")):
                connection.receive_data(bytes(await stream.receive_some(RECEIVE_BYTES)))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > BODY_MAX_BYTES:
                await _send(connection, stream, TOO_LARGE, b"{}")
                return False
        else:
            break
    if request is None:
        return False
    await _send(connection, stream, *await answer(request.target.decode("latin-1"), body))
    return connection.our_state is h11.DONE and connection.their_state is h11.DONE


async def _send(
    connection: h11.Connection, stream: trio.SocketStream, status: int, body: bytes
) -> None:
    headers = [("Content-Type", MEDIA_TYPE), ("Content-Length", str(len(body)))]
    raw = connection.send(h11.Response(status_code=status, headers=headers)) or b""
    raw += connection.send(h11.Data(data=body)) or b""
    raw += connection.send(h11.EndOfMessage()) or b""
    await stream.send_all(raw)

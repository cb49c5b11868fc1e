"""One request to a plugin and its answer: HTTP/1.1 over a unix socket, TCP or TLS."""

import ssl
from typing import Final

import h11
import trio

from voldrivers.errors import Unavailable
from voldrivers.plugin.places import Address, Tls
from voldrivers.plugin.wire import MEDIA_TYPE

CONNECT_S: Final = 5.0
RECEIVE_BYTES: Final = 64 << 10
BODY_MAX_BYTES: Final = 1 << 20


class NotListening(Unavailable):
    """There is nobody; nothing was asked."""


async def post(address: Address, path: str, body: bytes) -> tuple[int, bytes]:
    """(status, body) of the answer. A connection of its own: plugins are local and rarely asked.

    Raises:
        NotListening: nobody is there. Unavailable: what comes is not HTTP, not whole or too much.
    """
    try:
        stream = await _connect(address)
    except (OSError, trio.BrokenResourceError, trio.TooSlowError) as exc:
        late = f"no connection within {CONNECT_S:.0f} s"
        why = str(exc) or str(exc.__cause__ or late)  # TLS says what is wrong in the cause
        raise NotListening(
            "the plugin cannot be reached", at=address.path or address.host, why=why
        ) from exc
    try:
        async with stream:
            return await _ask(stream, path, body)
    except (OSError, trio.BrokenResourceError) as exc:
        raise Unavailable("the plugin hung up", call=path, why=str(exc)) from exc
    except h11.RemoteProtocolError as exc:
        raise Unavailable("the plugin answered what is not HTTP", call=path, why=str(exc)) from exc


async def _connect(address: Address) -> trio.abc.Stream:
    with trio.fail_after(CONNECT_S):
        if address.path:
            return await trio.open_unix_socket(address.path)
        context = build_context(address.tls) if address.tls else None
        stream = await trio.open_tcp_stream(address.host, address.port)
        if context is None:
            return stream
        secure = trio.SSLStream(
            stream, context, server_hostname=address.host,
            https_compatible=True,
        )  # fmt: skip
        try:
            await secure.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secure


def build_context(tls: Tls) -> ssl.SSLContext:
    """What the plugin's file says of certificates (OSError, ssl.SSLError)."""
    context = ssl.create_default_context(cafile=tls.ca_file or None)
    if tls.insecure_skip_verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if tls.cert_file:
        context.load_cert_chain(tls.cert_file, tls.key_file or None)
    return context


async def _ask(stream: trio.abc.Stream, path: str, body: bytes) -> tuple[int, bytes]:
    connection = h11.Connection(h11.CLIENT)
    request = h11.Request(
        method="POST",
        target=path,
        headers=[
            ("Host", "plugin"),
            ("Content-Type", MEDIA_TYPE),
            ("Accept", MEDIA_TYPE),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ],
    )
    raw = connection.send(request) or b""
    raw += connection.send(h11.Data(data=body)) or b""
    raw += connection.send(h11.EndOfMessage()) or b""
    await stream.send_all(raw)
    status, parts, size = 0, [], 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(RECEIVE_BYTES)))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            parts.append(bytes(event.data))
            size += len(event.data)
            if size > BODY_MAX_BYTES:
                raise Unavailable("the plugin's answer is too long", call=path, max=BODY_MAX_BYTES)
        elif isinstance(event, h11.EndOfMessage):
            return status, b"".join(parts)
        else:
            raise Unavailable("the plugin hung up", call=path)

"""A served connection over memory: no socket, no file, no other process."""

from collections.abc import Mapping
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
import trio.testing

from nodeagent.rpc.auth import Peer
from nodeagent.rpc.connection import Connection, Limits
from nodeagent.rpc.handlers import bind
from nodeagent.rpc.protocol import Notify, Protocol, Response, build_request

PEER = Peer(uid=1000, gid=1001, pid=77)


class Wire:
    """The client's end, on the level of messages."""

    def __init__(self, stream, connection, done):
        self.stream = stream
        self.connection = connection
        self.done = done
        self._protocol = Protocol()
        self._events = []

    async def send(self, *messages):
        await self.stream.send_all(b"".join(messages))

    async def receive(self):
        """Wait for the next message; None when the server closed."""
        while not self._events:
            data = await self.stream.receive_some(65536)
            if not data:
                return None
            self._events += self._protocol.receive(bytes(data))
        return self._events.pop(0)

    async def answer(self):
        """Wait for the next response: id, kind of the error or None, result."""
        while not isinstance(event := await self.receive(), Response):
            assert isinstance(event, Notify), "closed"
        kind = event.error.kind if event.error else None
        return event.id, kind, msgspec.msgpack.decode(event.result)

    async def ping(self, call_id=999):
        """Show that the connection still works."""
        await self.send(build_request(call_id, "system.ping", None))
        return await self.answer() == (call_id, None, {})


async def ping(_params, _call):
    return {}


@pytest.fixture
def serving():
    @asynccontextmanager
    async def serve(handlers: Mapping[str, object] = {}, *, make_pair=None, **limits):
        client, server = (make_pair or trio.testing.memory_stream_pair)()
        done = []
        bound = bind({"system.ping": ping, **handlers}, version="1")
        connection = Connection(server, PEER, bound, limits=Limits(**limits), on_done=done.append)

        async def run():
            await connection.serve()
            await server.aclose()

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                yield Wire(client, connection, done)
                await client.aclose()

    return serve

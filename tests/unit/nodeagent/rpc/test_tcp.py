"""RPC over TCP with real certificates, right and wrong."""

import logging
import ssl
import time
from contextlib import asynccontextmanager

import pytest
import trio
import trio.lowlevel

from nodeagent.cluster import ca
from nodeagent.cluster.place import ClusterPlace, joiner_context
from nodeagent.errors import Missing, Refused, Unavailable
from nodeagent.rpc import tcp
from nodeagent.rpc.schema.shapes import Done
from nodeagent.rpc.server import build_server
from nodeagent.rpc.tcp import TcpEntrance, ask_agent

HOST = "127.0.0.1"
DAY_S = 86400
SERVER = ca.Bearer(name="manager-1", role="manager", hosts=(HOST,))


def now() -> float:
    return time.time()


class World:
    def __init__(self, folder) -> None:
        self.folder = folder
        self.authority = ca.create_ca("c1", now=now())
        self.server = self.place(
            "server", ca.Bearer(name="manager-1", role="manager", hosts=(HOST,))
        )
        self.calls: list[tuple[str, str]] = []

    def place(self, name, bearer, *, authority=None, at=None, days=90):
        made = ClusterPlace(self.folder / name)
        pair = ca.issue(authority or self.authority, bearer, now=at or now(), days=days)
        made.write_identity(self.authority.certificate, pair)
        return made

    def client(self, role, **more):
        return self.place(
            f"client-{role}-{len(more)}", ca.Bearer(name=f"client-{role}", role=role), **more
        )

    async def ping(self, _params, call):
        self.calls.append((call.peer.name, call.peer.role))
        return Done()

    async def rm(self, _params, _call):
        raise Missing("no such network", name="x")

    async def authority_of(self, _params, _call):
        return self.authority.certificate.decode()


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@asynccontextmanager
async def served(world):
    server = build_server(
        {"system.ping": world.ping, "network.rm": world.rm, "cluster.authority": world.authority_of}
    )
    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    async with trio.open_nursery() as nursery:
        await nursery.start(TcpEntrance(server, world.server.server_context).serve, HOST, port)
        yield (HOST, port)
        nursery.cancel_scope.cancel()


def trust(_certificate: bytes) -> None:
    """The context has checked it."""


async def ask(address, place, method="system.ping", params=None):
    return await ask_agent(address, place.client_context(), trust, method, params or {})


@pytest.mark.parametrize(
    ("role", "seen"), [("admin", "admin"), ("reader", "reader"), ("worker", "node")]
)
async def test_a_certificate_says_who_and_in_which_role(world, role, seen):
    async with served(world) as address:
        place = world.client(role)
        if seen == "node":
            with pytest.raises(Refused, match="needs the role reader"):
                await ask(address, place)
        else:
            await ask(address, place)
            assert world.calls == [(f"client-{role}", seen)]


async def test_an_error_comes_back_with_its_kind(world):
    async with served(world) as address:
        with pytest.raises(Missing, match="no such network"):
            await ask(address, world.client("operator"), "network.rm", {"name": "x"})
        with pytest.raises(Refused, match="needs the role operator"):
            await ask(address, world.client("reader"), "network.rm", {"name": "x"})


async def test_without_a_certificate_one_may_ask_to_join_and_no_more(world):
    async with served(world) as address:
        await ask(address, world.client("reader"))
        found = await ask_agent(address, joiner_context(), trust, "cluster.authority", {})
        assert "BEGIN CERTIFICATE" in found
        with pytest.raises(Refused, match="needs the role reader"):
            await ask_agent(address, joiner_context(), trust, "system.ping", {})
    assert len(world.calls) == 1


WRONG = {
    "another authority": {"authority": ca.create_ca("c1", now=now())},
    "expired": {"at": now() - 100 * DAY_S},
    "not yet": {"at": now() + 2 * DAY_S},
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_certificate_is_refused(world, wrong, caplog):
    async with served(world) as address:
        await ask(address, world.client("reader"))
        with caplog.at_level(logging.WARNING), pytest.raises(Unavailable):
            await ask(address, world.client("admin", **WRONG[wrong]))
    assert len(world.calls) == 1
    assert "connection refused" in caplog.text


async def test_an_older_protocol_is_refused(world):
    async with served(world) as address:
        await ask(address, world.client("reader"))
        context = world.client("admin", days=3).client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(Unavailable):
            await ask_agent(address, context, trust, "system.ping", {})


async def test_a_server_of_another_cluster_gets_no_call(world):
    async with served(world) as address:
        await ask(address, world.client("reader"))

        def check(_certificate):
            raise Refused("not of the cluster")

        with pytest.raises(Refused, match="not of the cluster"):
            await ask_agent(address, joiner_context(), check, "system.ping", {})
    assert len(world.calls) == 1


async def test_half_open_handshakes_end_and_keep_nobody_out(world, monkeypatch):
    monkeypatch.setattr(tcp, "HANDSHAKE_S", 0.3)
    async with served(world) as address:
        await ask(address, world.client("reader"))
        open_ = [await trio.open_tcp_stream(*address) for _ in range(tcp.HANDSHAKES + 20)]
        await trio.lowlevel.checkpoint()
        for stream in open_[:10]:
            await stream.send_all(b"\x16")  # and nothing more
        with trio.fail_after(5):
            while True:
                try:
                    await ask(address, world.client("reader"))
                    break
                except Unavailable:
                    await trio.sleep(0.05)
        for stream in open_:
            await stream.aclose()
    assert len(world.calls) == 2


async def test_a_new_certificate_is_used_for_who_comes_then(world):
    async with served(world) as address:
        await ask(address, world.client("reader"))
        before = world.server.certificate()
        pair = ca.issue(
            world.authority, ca.Bearer(name="manager-2", role="manager", hosts=(HOST,)), now=now()
        )
        world.server.write_identity(world.authority.certificate, pair)
        seen = []
        await ask_agent(
            address, world.client("reader").client_context(), seen.append, "system.ping", {}
        )
    assert ca.read_identity(seen[0]).name == "manager-2"
    assert ca.read_identity(before).name == "manager-1"

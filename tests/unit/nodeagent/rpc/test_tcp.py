"""RPC over TCP with real certificates, right and wrong."""

import logging
import ssl
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
import trio
import trio.testing

from nodeagent.cluster import ca
from nodeagent.cluster.place import ClusterPlace, joiner_context
from nodeagent.errors import Missing, Refused, Unavailable
from nodeagent.rpc import tcp
from nodeagent.rpc.auth import Peer
from nodeagent.rpc.client import open_client, open_client_on
from nodeagent.rpc.errors import ConnectionLost, RpcError
from nodeagent.rpc.schema.shapes import Done
from nodeagent.rpc.server import Limits, Options, build_server
from nodeagent.rpc.sync_client import open_sync_client
from nodeagent.rpc.tcp import TcpEntrance, ask_agent
from nodeagent.rpc.tls import TlsFiles

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
        self.met: list[str] = []  # how each client was met

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

    async def wait(self, _params, _call):
        await trio.sleep_forever()

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
        {
            "system.ping": world.ping,
            "system.events": world.wait,
            "network.rm": world.rm,
            "cluster.authority": world.authority_of,
        }
    )
    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    async with trio.open_nursery() as nursery:
        entrance = TcpEntrance(server, world.server.server_context, now, world.met.append)
        await nursery.start(entrance.serve, HOST, port)
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
    "foreign": {"authority": ca.create_ca("c1", now=now())},
    "expired": {"at": now() - 100 * DAY_S},
    "early": {"at": now() + 2 * DAY_S},
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_certificate_is_refused(world, wrong, caplog):
    async with served(world) as address:
        await ask(address, world.client("reader"))
        with caplog.at_level(logging.WARNING), pytest.raises(Unavailable):
            await ask(address, world.client("admin", **WRONG[wrong]))
    assert len(world.calls) == 1
    assert world.met == ["reader", wrong]
    assert "connection refused" in caplog.text
    (record,) = [each for each in caplog.records if each.message == "connection refused"]
    assert (record.address, record.outcome) == (HOST, wrong)
    assert record.reason


async def test_a_certificate_for_servers_only_is_no_client_s(world, tmp_path):
    """Made by openssl: ours are always good for clients."""
    (tmp_path / "ca.crt").write_bytes(world.authority.certificate)
    (tmp_path / "ca.key").write_bytes(world.authority.key)
    (tmp_path / "ext").write_text("extendedKeyUsage=serverAuth\n")
    script = (
        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout x.key"
        " -subj /O=c1/OU=admin/CN=client-x -out x.csr &&"
        " openssl x509 -req -in x.csr -CA ca.crt -CAkey ca.key -days 9 -extfile ext -out x.crt"
    )
    await trio.run_process(["sh", "-c", script], cwd=tmp_path, capture_stderr=True)
    context = ssl.create_default_context(cadata=world.authority.certificate.decode())
    context.load_cert_chain(tmp_path / "x.crt", tmp_path / "x.key")
    async with served(world) as address:
        with pytest.raises(Unavailable):
            await ask_agent(address, context, trust, "system.ping", {})
    assert world.met == ["use"]


async def test_a_flood_of_wrong_clients_does_not_fill_the_log(world, caplog):
    async with served(world) as address:
        for _ in range(tcp.LINES * 3):
            stream = await trio.open_tcp_stream(*address)
            async with stream:
                await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
                while await stream.receive_some():
                    pass
        await ask(address, world.client("reader"))
    assert world.met.count("reader") == 1
    assert len(world.met) == tcp.LINES * 3 + 1
    assert caplog.text.count("connection refused") == tcp.LINES


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_an_older_protocol_is_refused(world, version):
    async with served(world) as address:
        context = world.client("admin").client_context()
        context.minimum_version = context.maximum_version = version
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(Unavailable):
            await ask_agent(address, context, trust, "system.ping", {})
    assert world.met == ["protocol"]


async def test_a_server_of_another_cluster_gets_no_call(world):
    async with served(world) as address:
        await ask(address, world.client("reader"))

        def check(_certificate):
            raise Refused("not of the cluster")

        with pytest.raises(Refused, match="not of the cluster"):
            await ask_agent(address, joiner_context(), check, "system.ping", {})
    assert len(world.calls) == 1


@pytest.mark.parametrize("first_bytes", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"])
async def test_half_open_handshakes_keep_nobody_out(world, first_bytes):
    async with served(world) as address:
        flood = [await trio.open_tcp_stream(*address) for _ in range(tcp.HANDSHAKES * 3)]
        for stream in flood:
            with suppress(trio.BrokenResourceError):  # those that were here first are gone
                await stream.send_all(first_bytes)
        with trio.fail_after(tcp.HANDSHAKE_S / 2):  # before the first of them has ended
            for _ in range(5):
                await ask(address, world.client("reader"))
        for stream in flood:
            await stream.aclose()
    assert len(world.calls) == 5
    assert world.met.count("crowded") > tcp.HANDSHAKES


def say_hello() -> bytes:
    """The first message of a client that speaks TLS."""
    out = ssl.MemoryBIO()
    client = joiner_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname=HOST)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


async def test_a_handshake_byte_by_byte_ends_in_time(world, monkeypatch):
    monkeypatch.setattr(tcp, "HANDSHAKE_S", 0.3)

    async def drip(stream):
        for byte in say_hello():
            await stream.send_all(bytes([byte]))
            await trio.sleep(0.02)

    async with served(world) as address:
        stream = await trio.open_tcp_stream(*address)
        began = trio.current_time()
        async with stream:
            with pytest.raises(trio.BrokenResourceError):
                await drip(stream)
        assert trio.current_time() - began < 2
        await ask(address, world.client("reader"))
    assert world.met == ["slow", "reader"]


async def test_strangers_who_stay_keep_nobody_out(world, monkeypatch):
    async with served(world) as address, AsyncExitStack() as stack:
        for _ in range(tcp.STRANGERS * 2):
            raw = await stack.enter_async_context(await trio.open_tcp_stream(*address))
            tls = trio.SSLStream(raw, joiner_context(), server_hostname=HOST)
            await tls.do_handshake()
        assert "BEGIN" in await ask_agent(address, joiner_context(), trust, "cluster.authority", {})
        await ask(address, world.client("reader"))
    monkeypatch.setattr(tcp, "STRANGER_S", 0.2)
    async with served(world) as address:
        raw = await trio.open_tcp_stream(*address)
        tls = trio.SSLStream(raw, joiner_context(), server_hostname=HOST, https_compatible=True)
        with trio.fail_after(5):
            with suppress(trio.BrokenResourceError):  # closed either way
                assert await tls.receive_some(1) == b""
        await trio.aclose_forcefully(tls)


def files_of(place):
    return TlsFiles(
        authority=place.folder / "ca.crt",
        certificate=place.folder / "node.crt",
        key=place.folder / "node.key",
    )


async def test_both_clients_speak_tcp(world):
    place = world.client("reader")
    paths = files_of(place)
    environ = {
        "NODEAGENT_TLS_CACERT": str(paths.authority),
        "NODEAGENT_TLS_CERT": str(paths.certificate),
        "NODEAGENT_TLS_KEY": str(paths.key),
    }

    def blocking(host):
        with open_sync_client(host, environ) as client:
            client.call("system.ping", {})
            with pytest.raises(RpcError, match="needs the role operator"):
                client.call("network.rm", {"name": "x"})

    async with served(world) as address:
        host = f"tcp://{address[0]}:{address[1]}"
        await trio.to_thread.run_sync(blocking, host)
        async with open_client(host, paths) as client:
            await client.call("system.ping", {})
    assert world.calls == [("client-reader", "reader")] * 2


async def test_a_server_of_another_authority_is_not_spoken_to_by_either_client(world):
    other = World(world.folder / "other")
    paths = files_of(other.client("admin"))

    def blocking(host, environ):
        with open_sync_client(host, environ) as client:
            client.call("system.ping", {})

    async with served(world) as address:
        host = f"tcp://{address[0]}:{address[1]}"
        with pytest.raises(ConnectionLost, match="cannot connect"):
            async with open_client(host, paths):
                raise AssertionError
        environ = {"NODEAGENT_CERT_PATH": str(world.folder / "pem")}
        (world.folder / "pem").mkdir()
        for name, path in (
            ("ca.pem", paths.authority), ("cert.pem", paths.certificate), ("key.pem", paths.key)
        ):  # fmt: skip
            (world.folder / "pem" / name).write_bytes(path.read_bytes())
        with pytest.raises(ConnectionLost, match="cannot connect"):
            await trio.to_thread.run_sync(blocking, host, environ)
    assert world.calls == []


async def test_who_comes_by_tcp_takes_no_room_from_the_unix_socket(world):
    server = build_server({"system.ping": world.ping}, Options(limits=Limits(max_connections=2)))
    ends = [trio.testing.memory_stream_pair() for _ in range(6)]
    async with trio.open_nursery() as nursery:
        for _, theirs in ends[:3]:
            peer = Peer(name="client-x", role="admin", address="192.0.2.9")
            nursery.start_soon(server.serve_peer, theirs, peer)
            await trio.testing.wait_all_tasks_blocked()
        for _, theirs in ends[3:]:
            nursery.start_soon(server.serve_peer, theirs, Peer(uid=0))
            await trio.testing.wait_all_tasks_blocked()
        for (ours, _), is_served in zip(ends, [True, True, False] * 2, strict=True):
            if is_served:
                async with open_client_on(ours) as client:
                    await client.call("system.ping", {})
            else:
                assert await ours.receive_some(1) == b""
    assert len(world.calls) == 4


async def test_nobody_stays_longer_than_the_certificate_is_good(world, caplog):
    ends_soon = world.client("reader", at=now() - DAY_S + 2, days=1)
    async with served(world) as address:
        raw = await trio.open_tcp_stream(*address)
        tls = trio.SSLStream(raw, ends_soon.client_context(), server_hostname=HOST)
        async with open_client_on(tls) as client:
            await client.call("system.ping", {})
            with trio.fail_after(5), pytest.raises(ConnectionLost):
                await client.call("system.events", {})
        assert now() >= ca.read_identity(ends_soon.certificate()).not_after.timestamp()
        assert world.calls == [("client-reader", "reader")]
    assert "not good any more" in caplog.text


async def test_a_new_certificate_is_used_for_who_comes_then(world):
    async with served(world) as address, AsyncExitStack() as stack:
        raw = await trio.open_tcp_stream(*address)
        tls = trio.SSLStream(raw, world.client("admin").client_context(), server_hostname=HOST)
        stays = await stack.enter_async_context(open_client_on(tls))
        await stays.call("system.ping", {})
        before = world.server.certificate()
        pair = ca.issue(
            world.authority, ca.Bearer(name="manager-2", role="manager", hosts=(HOST,)), now=now()
        )
        world.server.write_identity(world.authority.certificate, pair)
        await stays.call("system.ping", {})  # and who is here already is not disturbed
        seen = []
        await ask_agent(
            address, world.client("reader").client_context(), seen.append, "system.ping", {}
        )
    assert ca.read_identity(seen[0]).name == "manager-2"
    assert ca.read_identity(before).name == "manager-1"

"""The shared store on real etcd: the suite of every store, and what only hosts that share need.

Covers nodeagent/cluster/etcd/channel.py, nodeagent/cluster/etcd/client.py,
nodeagent/cluster/mirror.py
"""

import signal
from contextlib import asynccontextmanager

import pytest
import trio

from nodeagent.cluster import ca
from nodeagent.cluster.etcd.client import EtcdClient, open_client
from nodeagent.cluster.etcdstore import EtcdStore
from nodeagent.cluster.mirror import Mirror
from nodeagent.errors import Missing, Refused, Unavailable
from nodeagent.state.store import Compacted, Delete, Put, Row
from tests.fakes.etcd import client_of, running_members
from tests.unit.nodeagent.state import test_store as suite

pytestmark = pytest.mark.timeout(120)

globals().update({name: each for name, each in vars(suite).items() if name.startswith("test_")})


@pytest.fixture
async def cluster(tmp_path):
    async with running_members(tmp_path) as members:
        yield members


@pytest.fixture
async def opener(cluster):
    @asynccontextmanager
    async def open_store(_folder):
        async with client_of(cluster) as client:
            yield EtcdStore(client)

    return open_store


@pytest.fixture
async def store(opener, tmp_path):
    async with opener(tmp_path) as opened:
        yield opened


@pytest.fixture
async def three(tmp_path):
    async with running_members(tmp_path, 3) as members:
        yield members


async def test_a_watch_tells_every_change_once_and_in_order(store):
    begin = await store.commit(Put("a/0", b"before"))
    found = []
    async with store.watch("a/", after=begin) as changes, trio.open_nursery() as nursery:

        async def write():
            for n in range(100):
                await store.commit(Put(f"a/{n}", b"x"), Put(f"b/{n}", b"x"))
            await store.commit(Delete("a/0"))

        nursery.start_soon(write)
        with trio.fail_after(20):
            async for some in changes:
                found += some
                if found[-1].row is None:
                    break
    assert [each.key for each in found] == [f"a/{n}" for n in range(100)] + ["a/0"]
    assert [each.revision for each in found] == sorted({each.revision for each in found})
    assert found[7].row == Row("a/7", b"x", found[7].revision)


async def test_a_watch_begins_where_it_is_told(store):
    first = await store.commit(Put("a", b"1"))
    second = await store.commit(Put("a", b"2"))
    async with store.watch("a", after=first) as changes:
        with trio.fail_after(10):
            (change,) = await anext(changes)
    assert (change.revision, change.row) == (second, Row("a", b"2", second))


async def test_a_watch_from_before_a_compaction_says_so(store, cluster):
    first = await store.commit(Put("a", b"1"))
    last = await store.commit(Put("a", b"2"), Put("b", b"2"))
    last = await store.commit(Put("a", b"3"))
    async with client_of(cluster) as client:
        await client.call("Compact", revision=last, physical=True)
    async with store.watch("a", after=first) as changes:
        with trio.fail_after(10), pytest.raises(Compacted):
            await anext(changes)


async def test_rows_of_a_lease_go_with_it(store):
    lease = await store.grant(2)
    begin = await store.commit(Put("alive/1", b"", lease=lease), Put("other", b""))
    async with store.watch("alive/", after=begin) as changes:
        for _ in range(4):  # longer than its time, were it not renewed
            await trio.sleep(0.7)
            assert await store.renew(lease) > 0
        assert await store.get("alive/1") is not None
        with trio.fail_after(10):
            (change,) = await anext(changes)
    assert (change.key, change.row) == ("alive/1", None)
    with pytest.raises(Missing):
        await store.renew(lease)
    await store.revoke(lease)
    assert await store.get("other") is not None


async def test_a_revoked_lease_takes_its_rows_at_once(store):
    lease = await store.grant(60)
    await store.commit(Put("alive/1", b"", lease=lease))
    await store.revoke(lease)
    assert await store.get("alive/1") is None


async def test_many_rows_are_read_as_of_one_moment(store):
    for n in range(0, 2500, 500):
        await store.commit(*(Put(f"k/{each:05}", bytes(100)) for each in range(n, n + 500)))
    rows = await store.read("k/")
    assert [row.key for row in rows] == [f"k/{n:05}" for n in range(2500)]


async def test_a_reader_that_does_not_read_is_bounded_and_loses_nothing(store):
    begin = await store.commit()
    async with store.watch("big/", after=begin) as changes:
        for n in range(40):
            await store.commit(Put(f"big/{n}", bytes(1 << 18)))  # 10 MiB, ten times its window
        assert await store.get("big/39") is not None  # others on the same connection go on
        found = []
        with trio.fail_after(20):
            async for some in changes:
                found += some
                if len(found) == 40:
                    break
    assert [each.key for each in found] == [f"big/{n}" for n in range(40)]


async def leader(cluster) -> int:
    """Which member leads."""
    context = cluster.context()
    for _ in range(100):
        for n, address in enumerate(cluster.addresses):
            async with open_client([address], lambda: context) as client:
                try:
                    status = await client.call("Status", timeout_s=0.5)
                except Unavailable:
                    continue
                if status.leader == status.header.member_id:
                    return n
        await trio.sleep(0.1)
    raise AssertionError("no leader")


async def kill(member, number=signal.SIGKILL):
    signal.pidfd_send_signal(member._pidfd, number)
    if number == signal.SIGKILL:
        await member.wait_exit()


async def test_the_leader_dies_and_a_watch_has_no_gap(three):
    async with client_of(three) as client:
        store = EtcdStore(client)
        begin = await store.commit()
        found = []
        async with store.watch("k/", after=begin) as changes, trio.open_nursery() as nursery:

            async def write():
                n, leads = 0, await leader(three)
                while n < 60:
                    if n == 20 and leads >= 0:
                        await kill(three.members[leads])
                        leads = -1
                    try:
                        await store.commit(Put(f"k/{n:03}", b""))
                        n += 1
                    except Unavailable:
                        await trio.sleep(0.05)

            nursery.start_soon(write)
            with trio.fail_after(60):
                async for some in changes:
                    found += some
                    if found[-1].key == "k/059":
                        break
    keys = list(dict.fromkeys(each.key for each in found))
    assert keys == [f"k/{n:03}" for n in range(60)]


async def test_without_a_quorum_a_change_is_refused_in_time_and_later_all_goes_on(three):
    async with client_of(three) as client:
        store = EtcdStore(client)
        begin = await store.commit(Put("a", b"1"))
        async with store.watch("a", after=begin) as changes:
            for n in (0, 1):
                await kill(three.members[n], signal.SIGSTOP)
            try:
                began = trio.current_time()
                with pytest.raises(Unavailable, match=r"does not answer|refused"):
                    await store.commit(Put("a", b"2"))
                assert trio.current_time() - began < 8
            finally:
                for n in (0, 1):
                    await kill(three.members[n], signal.SIGCONT)
            with trio.fail_after(40):
                while True:
                    try:
                        last = await store.commit(Put("a", b"3"))
                        break
                    except Unavailable:
                        await trio.sleep(0.1)
                found = []
                while not found or found[-1].revision < last:
                    found += await anext(changes)
    assert found[-1].row == Row("a", b"3", last)


async def test_a_certificate_of_another_authority_is_refused(cluster, tmp_path):
    (tmp_path / "other").mkdir()
    async with running_members(tmp_path / "other") as stranger:
        context = stranger.context()
    async with open_client(cluster.addresses, lambda: context) as client:
        with pytest.raises(Unavailable, match="certificate"):
            await client.call("Range", key=b"a", timeout_s=2)


async def test_only_the_member_s_own_certificate_speaks_to_members(cluster):
    """A worker's is of the same authority, and would do to speak raft if any of its did."""
    spec = cluster.specs[0]
    async with client_of(cluster):
        pass  # it is up
    for name, role in (("worker-1", "worker"), ("manager-1", "manager")):
        context = cluster.context(name, role)
        assert not await ask_by_http(context, spec.peer_port, "GET /members"), name
    context = cluster.context(ca.PEER_NAME, "store")
    said = await ask_by_http(context, spec.peer_port, "GET /members")
    assert said.startswith(b"HTTP/1.1 200")


async def test_no_question_is_taken_as_json(cluster):
    async with client_of(cluster):
        pass  # it is up
    said = await ask_by_http(
        cluster.context(), cluster.addresses[0][1], "POST /v3/kv/range", b'{"key": "AA=="}'
    )
    assert said.startswith(b"HTTP/1.1 404")


async def ask_by_http(context, port, what, body=b""):
    """What a member answers at one of its ports; nothing, if it does not take the certificate."""
    context.set_alpn_protocols(["http/1.1"])
    tcp = await trio.open_tcp_stream("127.0.0.1", port)
    head = f"{what} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    try:
        stream = trio.SSLStream(tcp, context, server_hostname="127.0.0.1")
        with trio.fail_after(10):  # with TLS 1.3 a refusal comes only after our half is done
            await stream.send_all(head + body)
            return await stream.receive_some(4096)
    except trio.BrokenResourceError:
        return b""
    finally:
        await trio.aclose_forcefully(tcp)


async def test_a_member_that_is_not_good_enough_is_not_spoken_to(cluster):
    def check(certificate):
        assert ca.read_identity(certificate).name == "m0"
        raise Refused("who answers there is no manager")

    context = cluster.context()
    async with trio.open_nursery() as nursery:
        client = EtcdClient(cluster.addresses, lambda: context, check)
        nursery.start_soon(client.run)
        with pytest.raises(Unavailable, match="no manager"):
            await client.call("Range", key=b"k", timeout_s=1)
        nursery.cancel_scope.cancel()


async def test_a_name_has_the_rights_that_its_role_has(cluster):
    async with client_of(cluster) as root:
        for user in ("root", "worker-1"):
            await root.call("UserAdd", name=user, options={"no_password": True})
        await root.call("RoleAdd", name="root")
        await root.call("UserGrantRole", user="root", role="root")
        await root.call("RoleAdd", name="worker-1")
        permission = {
            "permType": 2,
            "key": b"/nodeagent/node/1/",
            "range_end": b"/nodeagent/node/10",
        }
        await root.call("RoleGrantPermission", name="worker-1", perm=permission)
        await root.call("UserGrantRole", user="worker-1", role="worker-1")
        await root.call("AuthEnable")
        context = cluster.context("worker-1", "worker")
        async with open_client(cluster.addresses, lambda: context) as client:
            store = EtcdStore(client)
            await store.commit(Put("node/1/self", b"mine"))
            assert (await store.get("node/1/self")).value == b"mine"
            for attempt in (
                lambda: store.commit(Put("node/2/self", b"not mine")),
                lambda: store.get("secret/ca"),
                lambda: store.read(""),
                lambda: client.call("UserAdd", name="worker-2", options={"no_password": True}),
                lambda: client.call("RoleGrantPermission", name="worker-1", perm=permission),
            ):
                with pytest.raises(Refused):
                    await attempt()
        assert await EtcdStore(root).get("node/2/self") is None


async def until(condition) -> None:
    for _ in range(4000):
        if condition():
            return
        await trio.sleep(0.01)


async def test_a_mirror_follows_through_a_compaction_and_a_silent_store(three):
    async with client_of(three) as client:
        store = EtcdStore(client)
        await store.commit(Put("a/1", b"1"), Put("b/1", b"1"))
        told = []
        mirror = Mirror(store, "a/", lambda: told.append(sorted(mirror.rows)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mirror.run)
            with trio.fail_after(20):
                await mirror.synced.wait()
                await store.commit(Put("a/2", b"2"), Delete("a/1"))
                await until(lambda: sorted(mirror.rows) == ["2"])
            for n in (0, 1, 2):
                await kill(three.members[n], signal.SIGSTOP)
            await trio.sleep(0.5)
            for n in (0, 1, 2):
                await kill(three.members[n], signal.SIGCONT)
            with trio.fail_after(40):
                while True:
                    try:
                        await store.commit(Put("a/3", b"3"))
                        break
                    except Unavailable:
                        await trio.sleep(0.1)
                await until(lambda: sorted(mirror.rows) == ["2", "3"])
            nursery.cancel_scope.cancel()
    assert told[0] == ["1"]

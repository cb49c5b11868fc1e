"""Who may call what."""

import pytest
import trio
import trio.testing

from nodeagent.rpc.auth import Peer
from nodeagent.rpc.client import open_client_on
from nodeagent.rpc.errors import RpcError
from nodeagent.rpc.roles import NAMED, may_call, needed_role, role_of
from nodeagent.rpc.schema.shapes import Nothing, read
from nodeagent.rpc.schema.table import METHODS
from nodeagent.rpc.server import Options, build_server

RANKED = ("anyone", "reader", "operator", "admin")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_role_and_who_has_more_may_more(name):
    method = METHODS[name]
    allowed = [may_call(role, method) for role in RANKED]
    assert allowed == sorted(allowed)
    assert allowed[-1]
    assert needed_role(method) in (*RANKED, "node")


def test_each_method_is_named_and_nothing_else():
    assert set(METHODS) == NAMED


def test_a_method_without_a_role_is_for_admins():
    forgotten = read("thing.peek", "Look.", Nothing, Nothing)
    assert [role for role in (*RANKED, "node") if may_call(role, forgotten)] == ["admin"]


INSIDE = ["container.pack", "container.export", "volume.export", "image.save", "network.explain"]


@pytest.mark.parametrize("name", INSIDE)
def test_a_reader_sees_no_files_and_sends_no_packets(name):
    assert not METHODS[name].changes
    assert not may_call("reader", METHODS[name])
    assert may_call("operator", METHODS[name])


def test_a_reader_changes_nothing():
    changing = [each for each in METHODS.values() if each.changes]
    open_to_all = {"cluster.admit"}
    assert {each.name for each in changing if may_call("reader", each)} == open_to_all
    assert len(changing) > 40


def test_who_has_no_certificate_may_ask_to_join_and_no_more():
    allowed = {name for name, each in METHODS.items() if may_call("anyone", each)}
    assert allowed == {"cluster.admit", "cluster.authority"}


def test_a_node_does_what_nodes_do():
    allowed = {name for name, each in METHODS.items() if may_call("node", each)}
    assert allowed == {
        f"cluster.{verb}" for verb in ("admit", "authority", "enter", "goodbye", "sign", "standing")
    }
    assert role_of("worker") == role_of("manager") == "node"
    assert role_of("reader") == "reader"


@pytest.mark.parametrize("name", ["cluster.token", "cluster.certificate", "node.rm"])
def test_an_operator_is_no_admin(name):
    assert not may_call("operator", METHODS[name])
    assert may_call("operator", METHODS["container.create"])


async def test_every_change_of_a_reader_is_refused_and_told():
    changing = [each.name for each in METHODS.values() if each.changes]
    told = []

    async def never(_params, _call):
        raise AssertionError

    server = build_server(dict.fromkeys(changing, never), Options(audit=told.append))
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        peer = Peer(name="client-r", role="reader", address="192.0.2.9")
        nursery.start_soon(server.serve_peer, theirs, peer)
        async with open_client_on(ours) as client:
            for name in changing:
                if name == "cluster.admit":
                    continue  # with a token anyone may
                with pytest.raises(RpcError, match="client-r has reader") as raised:
                    await client.call(name, {"password": "hush"})
                assert raised.value.kind == "refused"
                assert raised.value.fields["method"] == name
    assert {(each.outcome, each.peer.name) for each in told} == {("refused", "client-r")}
    assert [each.method for each in told] == [each for each in changing if each != "cluster.admit"]

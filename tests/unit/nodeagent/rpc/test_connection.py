"""A connection: calls side by side, errors that keep it, garbage that ends it, credit, cancel."""

import logging

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodeagent.rpc import streams
from nodeagent.rpc.protocol import build_notify, build_request, build_response

unpack = msgspec.msgpack.decode
LOGS = {"name": "web"}


async def test_calls_are_answered_out_of_order(serving):
    gate = trio.Event()

    async def wait(_params, _call):
        await gate.wait()
        return {"exit_code": 3}

    async with serving({"container.wait": wait}) as wire:
        await wire.send(
            build_request(1, "container.wait", {"name": "a"}), build_request(2, "system.ping", None)
        )
        assert await wire.answer() == (2, None, {})
        gate.set()
        assert await wire.answer() == (1, None, {"exit_code": 3})


async def test_many_pipelined_calls_are_answered_in_few_sends(serving):
    async with serving() as wire:
        sends, sender = [], wire.connection._stream.send_stream
        pump = sender.send_all_hook

        async def count():
            sends.append(1)
            await pump()

        sender.send_all_hook = count
        await wire.send(*(build_request(i, "system.ping", None) for i in range(1000)))
        assert sorted([await wire.answer() for _ in range(1000)]) == [
            (i, None, {}) for i in range(1000)
        ]
        assert len(sends) < 50


@pytest.mark.parametrize(
    ("method", "params", "kind"),
    [
        ("no.such", {}, "missing"),
        ("__class__", {}, "missing"),
        ("system.ping", {"a": 1}, "invalid"),
        ("system.ping", [1, 2], "invalid"),
        ("x" * 100_000, {}, "missing"),
    ],
)
async def test_a_bad_call_is_answered_and_the_connection_kept(serving, method, params, kind):
    async with serving() as wire:
        await wire.send(build_request(5, method, params))
        assert (await wire.answer())[:2] == (5, kind)
        assert await wire.ping()


async def test_too_large_and_too_deep_calls_are_answered_and_the_connection_kept(serving):
    async with serving(max_frame_bytes=4096) as wire:
        await wire.send(build_request(5, "system.ping", {"a": b"x" * 100_000}))
        assert (await wire.answer())[:2] == (5, "invalid")
        await wire.send(b"\x94\x00\x06\xabsystem.ping" + b"\x91" * 3000 + b"\xc0")
        assert (await wire.answer())[:2] == (6, "invalid")
        assert await wire.ping()


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x94\x00\xc1", b"\x93\x05\x05\x05"])
async def test_garbage_ends_the_connection_and_nothing_else(serving, data):
    async with serving() as wire:
        assert await wire.ping()
        await wire.send(data)
        assert await wire.receive() is None


@pytest.mark.parametrize(
    "notification",
    [
        build_notify("no.such", 1),
        build_notify("cancel", 77),
        build_notify("cancel", "x"),
        build_notify("stream.ack", 77, 1),
        build_notify("stream.ack", 77, -1),
        build_notify("stream.input", 77, b"x"),
        build_notify("stream.input"),
        build_notify("stream.resize", 77, 10, 99999999),
        build_response(3, "to nothing"),
    ],
)
async def test_a_notification_about_nothing_is_passed_over(serving, notification):
    async with serving() as wire:
        await wire.send(notification)
        assert await wire.ping()


async def test_the_connection_closed_cancels_its_calls(serving):
    ended = []

    async def wait(_params, _call):
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            ended.append("cancelled")
            raise

    async with serving({"container.wait": wait}) as wire:
        await wire.send(build_request(1, "container.wait", {"name": "a"}))
        await trio.testing.wait_all_tasks_blocked()
        assert not ended
    assert ended == ["cancelled"]
    assert [(done.method, done.outcome, done.target) for done in wire.done] == [
        ("container.wait", "cancelled", "")
    ]


async def test_a_shielded_handler_finishes_though_the_client_left(serving):
    gate, ended = trio.Event(), []

    async def start(_params, _call):
        with trio.CancelScope(shield=True):
            await gate.wait()
            ended.append("done")

    async with serving({"container.start": start}) as wire:
        await wire.send(build_request(1, "container.start", {"name": "a"}))
        await trio.testing.wait_all_tasks_blocked()
        await wire.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
    assert ended == ["done"]
    assert wire.done[0].changes


async def test_cancel_ends_one_call(serving):
    async def wait(_params, _call):
        await trio.sleep_forever()

    async with serving({"container.wait": wait}) as wire:
        for call_id in (1, 2):
            await wire.send(build_request(call_id, "container.wait", {"name": "a"}))
        await wire.send(build_notify(streams.CANCEL, 2))
        assert await wire.answer() == (2, "cancelled", None)
        await wire.send(build_notify(streams.CANCEL, 1))
        assert await wire.answer() == (1, "cancelled", None)
        assert [done.outcome for done in wire.done] == ["cancelled", "cancelled"]


async def test_cancel_in_the_same_packet_as_the_call(serving):
    async def wait(_params, _call):
        await trio.sleep_forever()

    async with serving({"container.wait": wait}) as wire:
        await wire.send(
            build_request(1, "container.wait", {"name": "a"}), build_notify(streams.CANCEL, 1)
        )
        assert await wire.answer() == (1, "cancelled", None)


async def test_an_id_in_use_is_refused(serving):
    async def wait(_params, _call):
        await trio.sleep_forever()

    async with serving({"container.wait": wait}) as wire:
        request = build_request(1, "container.wait", {"name": "a"})
        await wire.send(request, request)
        assert (await wire.answer())[:2] == (1, "invalid")
        await wire.send(build_notify(streams.CANCEL, 1))
        assert await wire.answer() == (1, "cancelled", None)
        assert await wire.ping(1)


async def test_too_many_calls_in_flight_are_refused_and_cancels_still_heard(
    serving, autojump_clock
):
    async def wait(_params, _call):
        await trio.sleep_forever()

    async with serving({"container.wait": wait}, max_calls=3) as wire:
        await wire.send(*(build_request(i, "container.wait", {"name": "a"}) for i in range(5)))
        refused = [await wire.answer(), await wire.answer()]
        assert refused == [(3, "exhausted", None), (4, "exhausted", None)]
        await wire.send(build_notify(streams.CANCEL, 0))
        assert await wire.answer() == (0, "cancelled", None)
        assert await wire.ping()


async def test_a_defect_is_logged_once_and_not_told(serving, caplog):
    async def start(_params, _call):
        raise ZeroDivisionError("hunter2")

    async with serving({"container.start": start}) as wire:
        await wire.send(build_request(1, "container.start", {"name": "a"}))
        event = await wire.receive()
        assert event.error.kind == "internal"
        assert "hunter2" not in event.error.message
        assert await wire.ping()
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info
    assert wire.done[0].outcome == "internal"


async def test_an_error_beside_a_cancel_does_not_end_the_connection(serving):
    async def wait(_params, _call):
        try:
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError

    async with serving({"container.wait": wait}) as wire:
        await wire.send(
            build_request(1, "container.wait", {"name": "a"}), build_notify(streams.CANCEL, 1)
        )
        assert (await wire.answer())[:2] == (1, "internal")
        assert await wire.ping()


async def test_a_client_that_reads_no_answers_is_not_read_either(serving, autojump_clock):
    pair = trio.testing.lockstep_stream_pair
    sent = []

    async def flood(wire):
        for first in range(0, 10**7, 1000):
            await wire.send(*(build_request(first + n, "no.such", None) for n in range(1000)))
            sent.append(first)

    async with serving(make_pair=pair, max_calls=5) as wire:
        with trio.move_on_after(5):
            await flood(wire)
        assert wire.connection._outbox._held_bytes < 600_000
        assert len(sent) < 20


@pytest.mark.parametrize(
    ("method", "params", "target"),
    [
        ("image.pull", {"ref": "busybox"}, "busybox"),
        ("image.tag", {"source": "a", "target": "b"}, "a"),
        ("network.connect", {"network": "n", "container": "c"}, "n"),
        ("container.create", {"image": "i", "name": "web"}, "web"),
        ("container.create", {"image": "i"}, "i"),
        ("container.prune", {}, ""),
        ("image.pull", {"ref": 3}, ""),
    ],
)
async def test_the_account_names_the_object(serving, method, params, target):
    async def change(_params, _call):
        return None

    async with serving({method: change}) as wire:
        await wire.send(build_request(1, method, params))
        await wire.answer()
    assert [done.target for done in wire.done] == [target]


TRAFFIC = (
    build_request(1, "container.exec", {"name": "web", "cmd": ["x"], "window": 2})
    + build_notify(streams.INPUT, 1, b"abc")
    + build_notify(streams.ACK, 1, 1)
    + build_notify(streams.RESIZE, 1, 24, 80)
    + build_request(2, "container.logs", {"name": "web"})
    + build_notify(streams.CANCEL, 2)
    + build_request(3, "system.ping", None)
    + build_notify(streams.INPUT, 1, None)
)
CHANGES = st.dictionaries(st.integers(0, len(TRAFFIC) - 1), st.integers(0, 255), max_size=5)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES, st.integers(1, len(TRAFFIC)))
async def test_whatever_comes_the_server_only_answers_or_closes(serving, changes, size):
    data = bytes(changes.get(index, byte) for index, byte in enumerate(TRAFFIC))

    async def echo(_params, call):
        while (piece := await call.receive_input()) is not None:
            await call.send(piece)
        return await call.receive_resize()

    async with serving({"container.exec": echo, "container.logs": echo}) as wire:
        for start in range(0, len(data), size):
            try:
                await wire.send(data[start : start + size])
            except trio.BrokenResourceError:
                break
    outcomes = {done.outcome for done in wire.done}
    assert outcomes <= {"ok", "cancelled", "invalid"}


async def test_the_traffic_of_the_test_above_is_good_as_it_is(serving):
    async def echo(_params, call):
        while (piece := await call.receive_input()) is not None:
            await call.send(piece)
        return await call.receive_resize()

    async with serving({"container.exec": echo, "container.logs": echo}) as wire:
        await wire.send(TRAFFIC)
        answers = sorted([await wire.answer() for _ in range(3)])
        assert answers == [(1, None, [24, 80]), (2, "cancelled", None), (3, None, {})]


# --- the agent is being replaced ----------------------------------------------------------------


async def test_a_change_may_end_and_a_new_one_may_not_begin(serving):
    gate = trio.Event()

    async def start(_params, _call):
        await gate.wait()
        return {}

    async with serving({"container.start": start}) as wire, trio.open_nursery() as nursery:
        await wire.send(build_request(1, "container.start", {"name": "a"}))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(wire.connection.retire, 5.0, 0.1)
        await trio.testing.wait_all_tasks_blocked(0.2)
        await wire.send(build_request(2, "container.start", {"name": "b"}))
        id_, kind, _ = await wire.answer()
        assert (id_, kind) == (2, "unavailable")
        assert await wire.ping(3), "reads go on meanwhile"
        gate.set()
        assert await wire.answer() == (1, None, {})


async def test_what_has_no_end_is_answered_that_it_should_connect_again(serving):
    ended = []

    async def follow(_params, call):
        try:
            await trio.sleep_forever()
        finally:
            ended.append(call.id)

    handlers = {"container.logs": follow, "container.exec": follow, "container.wait": follow}
    async with serving(handlers) as wire:
        for number, (name, params) in enumerate(
            [
                ("container.logs", LOGS),
                ("container.exec", {"name": "a", "cmd": ["sh"]}),
                ("container.wait", LOGS),
            ]
        ):
            await wire.send(build_request(number, name, params))
        await trio.testing.wait_all_tasks_blocked()
        await wire.connection.retire(60.0, 0.05)
        answers = sorted([await wire.receive() for _ in range(3)], key=lambda each: each.id)
        assert [each.id for each in answers] == [0, 1, 2]
        assert {each.error.kind for each in answers} == {"unavailable"}
        assert "connect again" in answers[0].error.message
        assert sorted(ended) == [0, 1, 2]
        await wire.send(build_request(9, "system.ping", None))
        assert (await wire.answer())[:2] == (9, "unavailable"), "nothing begins any more"


async def test_who_has_just_connected_is_waited_for(serving):
    async with serving() as wire, trio.open_nursery() as nursery:
        nursery.start_soon(wire.connection.retire, 0.1, 5.0)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert await wire.ping()


async def test_who_has_gone_is_not_waited_for(serving):
    async with serving() as wire:
        await wire.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(1):
            await wire.connection.retire(60.0, 60.0)

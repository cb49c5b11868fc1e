"""Messages: what is sent is what is received; what is wrong is told with the field's name."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.model.containerrequest import ContainerCreate
from nodeagent.rpc.errors import ProtocolError, RpcError
from nodeagent.rpc.protocol import (
    Notify,
    Protocol,
    Rejected,
    Request,
    Response,
    build_error,
    build_notify,
    build_request,
    build_response,
    read_args,
    read_error,
    read_params,
    read_result,
)
from nodeagent.rpc.schema.container import ContainerLogs
from nodeagent.rpc.schema.shapes import Nothing
from nodeagent.rpc.streams import Ack

PORT_WRONG = {"image": "a", "ports": [{"container_port": 1, "host_port": "x"}]}
pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode
CREATE = msgspec.msgpack.Decoder(ContainerCreate)
NOTHING = msgspec.msgpack.Decoder(Nothing)


def receive(data, **limits):
    return list(Protocol(**limits).receive(data))


def test_a_request_comes_through():
    (event,) = receive(build_request(7, "container.ls", {"all": True}))
    assert isinstance(event, Request)
    assert (event.id, event.method, unpack(event.params)) == (7, "container.ls", [{"all": True}])


def test_a_struct_is_sent_as_a_map():
    (event,) = receive(build_request(7, "x", ContainerLogs(name="web", tail=3)))
    assert isinstance(event, Request)
    assert unpack(event.params)[0]["tail"] == 3


def test_a_response_comes_through():
    good, bad = receive(build_response(1, [1]) + build_error(2, "busy", "why", {"by": "x"}))
    assert isinstance(good, Response)
    assert isinstance(bad, Response)
    assert good.error is None
    assert read_result(good.result, list[int]) == [1]
    assert bad.error is not None
    assert (bad.error.kind, bad.error.message, bad.error.fields) == ("busy", "why", {"by": "x"})


def test_the_wire_is_the_public_protocol():
    assert unpack(build_request(1, "m", None)) == [0, 1, "m", []]
    assert unpack(build_request(1, "m", {})) == [0, 1, "m", [{}]]
    assert unpack(build_response(1, 5)) == [1, 1, None, 5]
    assert unpack(build_error(1, "busy", "m", {"a": 1})) == [1, 1, ["busy", "m", {"a": 1}], None]
    assert unpack(build_notify("stream", 1, b"x")) == [2, "stream", [1, b"x"]]


def test_a_method_name_may_be_bytes():
    request, notify = receive(pack([0, 1, b"system.ping", []]) + pack([2, b"cancel", [1]]))
    assert isinstance(request, Request)
    assert isinstance(notify, Notify)
    assert (request.method, notify.method) == ("system.ping", "cancel")


@pytest.mark.parametrize("method", [3, None, [], b"\xff", [[[]]]])
def test_a_method_that_is_no_name_is_answered(method):
    (event,) = receive(pack([0, 9, method, []]))
    assert isinstance(event, Rejected)
    assert (event.id, event.error.kind, event.error.fields) == (9, "invalid", {"field": "method"})


def test_text_that_is_no_utf8_does_not_end_the_connection():
    (event,) = receive(b"\x94\x00\x09\xa2\xff\xff\x90")
    assert isinstance(event, Rejected)
    assert event.id == 9


@pytest.mark.parametrize("depth", [990, 1100, 5000])
def test_params_too_deep_are_answered_by_name(depth):
    bad = b"\x94\x00\x07\xa1x" + b"\x91" * depth + b"\xc0"
    event, last = receive(bad + build_request(8, "y", None))
    assert isinstance(last, Request)
    if isinstance(event, Request):  # shallow enough for the frame: the decoder finds it
        with pytest.raises(RpcError) as caught:
            read_params(event.params, CREATE)
        assert str(caught.value.fields["field"]).startswith("params")
    else:
        assert isinstance(event, Rejected)
        assert (event.id, event.error.fields) == (7, {"field": "params"})


def test_params_too_large_are_answered_by_name():
    bad = build_request(7, "image.load", {"x": b"y" * 5000})
    event, last = receive(bad + build_request(8, "y", None), max_frame_bytes=4096)
    assert isinstance(event, Rejected)
    assert (event.id, event.method, event.error.kind) == (7, "image.load", "invalid")
    assert "4096" in event.error.message
    assert isinstance(last, Request)


@pytest.mark.parametrize(
    "frame",
    [
        [3, 1, "x", []],
        [0, -1, "x", []],
        [0, "1", "x", []],
        [0, None, "x", []],
        [1, "x", []],
        [2, 5, []],
        [None, None, None, None],
    ],
)
def test_a_frame_that_is_no_message_ends_the_connection(frame):
    with pytest.raises(ProtocolError):
        receive(pack(frame))


def test_a_large_frame_without_an_id_ends_the_connection():
    with pytest.raises(ProtocolError):
        receive(pack([2, "stream.input", [1, b"x" * 5000]]), max_frame_bytes=4096)


@pytest.mark.parametrize("params", [[], None, {}, [{}]])
def test_no_params_in_every_form(params):
    assert read_params(pack(params), NOTHING) == Nothing()


@pytest.mark.parametrize("params", [{"image": "a"}, [{"image": "a"}]])
def test_params_as_a_map_or_a_list_of_one(params):
    assert read_params(pack(params), CREATE).image == "a"


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "params.image"),
        ([], "params.image"),
        ({"image": 3}, "params.image"),
        ({"image": "a" * 5000}, "params.image"),
        ({"image": "a", "imagine": 1}, "params.imagine"),
        (PORT_WRONG, "params.ports[0].host_port"),
        ({"image": "a", "ports": [{"container_port": 1, "port": 1}]}, "params.ports[0].port"),
        ({"image": "a", "ports": [{}]}, "params.ports[0].container_port"),
        ({"image": "a", "env": ["a"] * 5000}, "params.env"),
        ({"image": "a", "env": ["a", 1]}, "params.env[1]"),
        ({"image": "a", "labels": {"b": 1}}, "params.labels[...]"),
        ({"image": [[[[[]]]]]}, "params.image"),
        ({b"image": "a"}, "params"),
        ([{"image": "a"}, {}], "params"),
        (list(range(20)), "params"),
        ("text", "params"),
        (5, "params"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_told_by_its_path(params, field):
    with pytest.raises(RpcError) as caught:
        read_params(pack(params), CREATE)
    assert caught.value.kind == "invalid"
    assert caught.value.fields == {"field": field}
    assert caught.value.message.startswith(f"{field}: ")


def test_bad_utf8_in_a_parameter_is_told():
    with pytest.raises(RpcError) as caught:
        read_params(b"\x81\xa5image\xa1\xff", CREATE)
    assert caught.value.fields == {"field": "params"}


def test_errors_of_other_servers_are_understood():
    assert read_error(pack(None)) is None
    error = read_error(pack("no"))
    assert error is not None
    assert (error.kind, error.message) == ("internal", "no")


def test_a_result_of_another_type_is_an_error():
    with pytest.raises(RpcError, match="not understood"):
        read_result(pack("text"), int)


def test_arguments_of_another_shape_are_none():
    assert read_args(pack([1, 2]), Ack) == Ack(id=1, count=2)
    assert read_args(pack([1, 2, "later"]), Ack) == Ack(id=1, count=2)
    for wrong in ([1], [1, "x"], [1, 0], [1, -1], {}, None, [1, 2**40]):
        assert read_args(pack(wrong), Ack) is None


@given(
    st.lists(st.tuples(st.integers(0, 2**32), st.text(max_size=9), st.binary(max_size=99))),
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
)
def test_any_split_gives_the_same_messages(calls, sizes):
    data = b"".join(build_request(call_id, method, {"d": blob}) for call_id, method, blob in calls)
    protocol, events = Protocol(), []
    while data:
        piece, data = data[: sizes[0]], data[sizes[0] :]
        sizes = [*sizes[1:], sizes[0]]
        events += protocol.receive(piece)
    got = [(event.id, event.method, unpack(event.params)[0]["d"]) for event in events]
    assert got == calls


def mutations(data):
    """Valid traffic with some bytes changed gets further than noise."""
    return st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=4).map(
        lambda changes: bytes(dict(changes).get(i, byte) for i, byte in enumerate(data))
    )


TRAFFIC = (
    build_request(1, "container.ls", {"all": True})
    + build_error(2, "busy", "x", {"a": [1]})
    + build_notify("stream.input", 3, b"abc")
)


@given(st.binary(max_size=200) | mutations(TRAFFIC))
def test_any_bytes_give_messages_or_a_protocol_error(data):
    with suppress(ProtocolError):
        for event in receive(data, max_frame_bytes=4096):
            if isinstance(event, Request):
                with suppress(RpcError):
                    read_params(event.params, CREATE)
            elif isinstance(event, Notify):
                read_args(event.args, Ack)

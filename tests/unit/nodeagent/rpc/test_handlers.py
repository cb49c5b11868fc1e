"""Errors on their way to the client, and the description of all methods."""

import logging

import msgspec
import pytest

import netdrivers.errors
import nodeagent.errors
import runtime.errors
import voldrivers.errors
from nodeagent.rpc.description import Description
from nodeagent.rpc.errors import KINDS, RpcError
from nodeagent.rpc.handlers import DESCRIBE, bind, build_message, to_error
from nodeagent.rpc.schema.shapes import Nothing
from nodeagent.rpc.schema.table import METHODS

PACKAGES = (netdrivers.errors, nodeagent.errors, runtime.errors, voldrivers.errors)


async def handle(_params, _call):
    return None


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_errors_of_every_package_keep_their_kind_and_fields(package):
    error = to_error(package.Conflict("make x", name="web"), method="m")
    assert (error.kind, error.message, error.fields) == (
        "conflict",
        "make x (name web)",
        {"name": "web"},
    )


def test_an_rpc_error_is_itself():
    error = RpcError("busy", "x")
    assert to_error(error, method="m") is error


def test_a_group_of_known_errors_tells_the_first():
    group = ExceptionGroup("", [nodeagent.errors.Busy("a"), nodeagent.errors.Missing("b")])
    assert to_error(ExceptionGroup("", [group]), method="m").kind == "busy"


def test_a_defect_does_not_hide_behind_a_known_error(caplog):
    group = ExceptionGroup("", [nodeagent.errors.Busy("a"), KeyError("hunter2")])
    error = to_error(group, method="m")
    assert error.kind == "internal"
    assert "hunter2" not in error.message
    assert len(caplog.records) == 1


def test_a_known_internal_error_is_told_and_logged(caplog):
    error = to_error(nodeagent.errors.Internal("read state", table="x"), method="m")
    assert (error.kind, error.message) == ("internal", "read state (table x)")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_an_error_of_an_unknown_kind_is_a_defect(caplog):
    class Odd(RpcError):
        pass

    odd = Odd("odd", "hunter2", {"secret": 1})
    assert to_error(odd, method="m").kind == "internal"
    assert to_error(odd, method="m").fields == {}
    assert caplog.records


def test_a_handler_without_a_method_stops_the_start():
    with pytest.raises(ValueError, match=r"container\.fly"):
        bind({"container.fly": handle})


def test_only_what_is_bound_can_be_called():
    assert set(bind({"system.ping": handle})) == {"system.ping", DESCRIBE}


async def test_describe_lists_every_method_with_its_schemas():
    bound = bind({}, version="1.2")[DESCRIBE]
    answer = await bound.handle(Nothing(), None)
    wire = msgspec.msgpack.encode(answer)
    described = msgspec.msgpack.decode(wire, type=Description)
    assert (described.protocol, described.version) == ("msgpack-rpc", "1.2")
    views = {view.name: view for view in described.methods}
    assert views.keys() == METHODS.keys()
    create = views["container.create"]
    params = create.params["$defs"]["ContainerCreate"]
    assert params["required"] == ["image"]
    assert params["additionalProperties"] is False
    assert create.changes
    assert (create.role, views["system.ping"].role) == ("operator", "reader")
    assert views["container.logs"].stream["$ref"] == "#/$defs/LogItem"
    assert views["container.exec"].takes_input


def test_kinds_are_those_of_the_packages():
    used = {leaf.kind for package in PACKAGES for leaf in vars(package).values()
            if isinstance(leaf, type) and issubclass(leaf, Exception)}  # fmt: skip
    assert used | {"cancelled"} == KINDS


def test_an_error_in_words_says_why_and_repeats_nothing():
    error = nodeagent.errors.Missing(
        "web was not found", name="web", says="no such file", exit_code=127, by=["x"], field="cmd"
    )
    assert build_message(error) == "web was not found: no such file (field cmd)"


def test_a_full_disk_is_said_to_be_one_wherever_it_shows(caplog):
    error = to_error(OSError(28, "No space left on device", "/data/x"), method="container.exec")
    assert (error.kind, error.fields) == ("exhausted", {"path": "/data/x"})
    assert "no space" in error.message
    assert not caplog.records
    assert to_error(OSError(5, "Input/output error"), method="m").kind == "internal"

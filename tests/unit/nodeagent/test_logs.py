"""Log lines: one a record, with fields, without secrets."""

import io
import json
import logging

import pytest

from nodeagent.logs import AUDIT, REDACTED, set_up_logs


@pytest.fixture
def logged():
    """Set up logs into a buffer; the process's own set-up comes back."""
    root, audit = logging.getLogger(), logging.getLogger(AUDIT)
    before = root.handlers[:], root.level, audit.level, logging.raiseExceptions
    stream = io.StringIO()

    def set_up(**settings):
        set_up_logs(stream=stream, **settings)
        return stream

    yield set_up
    root.handlers[:], level, audit_level, logging.raiseExceptions = before
    root.setLevel(level)
    audit.setLevel(audit_level)


log = logging.getLogger("nodeagent.test")


def test_text_line_has_time_level_logger_message_and_fields(logged):
    stream = logged()
    log.info("link added", extra={"link": "br-1", "net": "a b", "count": 3})
    stamp, rest = stream.getvalue().split(" ", 1)
    assert rest == 'INFO nodeagent.test: link added link=br-1 net="a b" count=3\n'
    assert stamp.endswith("Z")


def test_json_line_is_one_object(logged):
    stream = logged(format="json")
    log.warning("link %s", "x", extra={"link": "br-1", "count": 3, "level": "mine"})
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "nodeagent.test",
        "message": "link x",
        "link": "br-1",
        "count": 3,
        "level_": "mine",
    }


@pytest.mark.parametrize("shape", ["text", "json"])
@pytest.mark.parametrize("name", ["password", "registry_token", "Authorization", "private_key"])
def test_secrets_are_not_written(logged, shape, name):
    stream = logged(format=shape)
    log.info("login", extra={name: "hunter2", "user": "u"})
    assert "hunter2" not in stream.getvalue()
    assert REDACTED in stream.getvalue()


@pytest.mark.parametrize("shape", ["text", "json"])
def test_a_hostile_name_cannot_forge_a_line(logged, shape):
    stream = logged(format=shape)
    log.info("made", extra={"object": "x\n2026 ERROR forged"})
    log.info("made x\nforged")
    assert len(stream.getvalue().splitlines()) == 2


def test_a_traceback_is_in_the_json_line(logged):
    stream = logged(format="json")
    log.error("failed", exc_info=ZeroDivisionError("why"))
    assert "ZeroDivisionError: why" in json.loads(stream.getvalue())["traceback"]


def test_the_level_holds_but_not_for_the_audit(logged):
    stream = logged(level="error")
    log.warning("no")
    logging.getLogger(AUDIT).info("change", extra={"method": "container.rm"})
    assert [line.split(": ")[1] for line in stream.getvalue().splitlines()] == [
        "change method=container.rm"
    ]


def test_setting_up_twice_writes_once(logged):
    logged()
    stream = logged()
    log.info("once")
    assert stream.getvalue().count("once") == 1


def test_long_fields_are_cut(logged):
    stream = logged()
    log.info("x", extra={"field": "y" * 100_000})
    assert len(stream.getvalue()) < 5000

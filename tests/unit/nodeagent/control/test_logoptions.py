import pytest

from nodeagent.control.logoptions import (
    build_attributes,
    build_tag,
    parse_cursor,
    parse_log,
    resolve_log,
)
from nodeagent.errors import Invalid
from nodeagent.model.containerrequest import ContainerCreate
from nodeagent.model.logs import LogRecord, LogSettings
from runtime.contract.logs import Cursor
from tests.fakes.records import container


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, (None, None, None)),
        ({"max-size": "10m", "max-file": "3", "compress": "false"}, (10 << 20, 3, False)),
        ({"max-size": "-1", "compress": "true"}, (0, None, True)),
        ({"max-size": "65536"}, (65536, None, None)),
        (
            {"max-size": "1G", "mode": "non-blocking", "max-buffer-size": "4m"},
            (1 << 30, None, None),
        ),
    ],
)
def test_options_of_the_file(options, wanted):
    found = parse_log("json-file", options)
    assert (found.max_bytes, found.max_files, found.compress) == wanted
    assert found.options == options


@pytest.mark.parametrize(
    ("driver", "options", "field"),
    [
        ("local", {"max-size": "10x"}, "max-size"),
        ("local", {"max-size": "1"}, "max-size"),
        ("local", {"max-file": "0"}, "max-file"),
        ("local", {"max-file": "-1"}, "max-file"),
        ("local", {"compress": "maybe"}, "compress"),
        ("local", {"labels-regex": "("}, "labels-regex"),
        ("local", {"tag": "{{.Nmae}}"}, "tag"),
        ("local", {"tag": "{{range .}}"}, "tag"),
        ("local", {"mode": "fast"}, "mode"),
        ("local", {"max-sise": "1m"}, "max-sise"),
        ("none", {"max-size": "1m"}, "max-size"),
    ],
)
def test_a_wrong_option_is_named(driver, options, field):
    with pytest.raises(Invalid) as caught:
        parse_log(driver, options)
    assert caught.value.fields["field"] == f"log_options.{field}"


def test_the_configured_driver_with_its_options_is_for_who_names_none():
    defaults = LogSettings(driver="json-file", options={"max-size": "1m", "max-file": "2"})
    plain = resolve_log(ContainerCreate(image="x"), defaults)
    assert (plain.driver, plain.max_bytes, plain.max_files) == ("json-file", 1 << 20, 2)
    some = resolve_log(ContainerCreate(image="x", log_options={"max-file": "7"}), defaults)
    assert (some.max_bytes, some.max_files) == (1 << 20, 7)
    other = resolve_log(ContainerCreate(image="x", log_driver="local"), defaults)
    assert (other.driver, other.options) == ("local", {})


def record(**options):
    return container(
        "a" * 64, env=["TIER=gold", "PATH=/bin"], labels={"team": "net", "cost": "3"},
        log=LogRecord(options={key.replace("_", "-"): value for key, value in options.items()}),
    )  # fmt: skip


def test_attributes_are_those_that_were_asked_for():
    assert build_attributes(record()) == {}
    found = build_attributes(record(labels="team,none", env_regex="^T", tag="{{.Name}}/{{ .ID }}"))
    assert found == {"team": "net", "TIER": "gold", "tag": "web/" + "a" * 12}


def test_a_tag_is_the_short_id_unless_it_is_asked_for():
    assert build_tag(record()) == "a" * 12
    assert build_tag(record(tag="{{.FullID}}")) == "a" * 64
    assert build_tag(record(tag="plain")) == "plain"


def test_cursors():
    assert parse_cursor("7:4096") == Cursor(generation=7, offset=4096)
    assert parse_cursor(str(Cursor(generation=3, offset=0))) == Cursor(generation=3, offset=0)
    for text in ("", "7", "7:", "-1:2", "a:b", "7:4:1", "\u0667:1"):
        with pytest.raises(Invalid):
            parse_cursor(text)

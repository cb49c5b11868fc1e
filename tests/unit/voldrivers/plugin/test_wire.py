import pytest
from hypothesis import given
from hypothesis import strategies as st

from voldrivers.errors import Refused, Unavailable, VolDriverError
from voldrivers.plugin.wire import (
    Activated,
    Answer,
    Got,
    Mounted,
    build_request,
    check_mountpoint,
    read_answer,
)


def read(type_, body, status=200):
    return read_answer(type_, status, body, plugin="p", call="c")


def test_answers():
    assert build_request(Name="v", Opts={"a": "b"}) == b'{"Name":"v","Opts":{"a":"b"}}'
    assert read(Activated, b'{"Implements":["VolumeDriver"]}').implements == ["VolumeDriver"]
    assert read(Mounted, b'{"Mountpoint":"/m","Err":""}').mountpoint == "/m"
    assert read(Got, b'{"Volume":null,"Err":""}').volume is None
    got = read(Got, b'{"Volume":{"Name":"v","Mountpoint":"/m","Status":{"x":1}},"Err":""}')
    assert got.volume.name == "v"
    assert read(Answer, b"") == Answer()


@pytest.mark.parametrize("status", [200, 500])
def test_the_plugins_own_words_reach_the_user(status):
    with pytest.raises(Refused, match="volume is in use"):
        read(Answer, b'{"Err":"volume is in use"}', status)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"<html>", 200), (b"[]", 200), (b'{"Err":5}', 200), (b"{}", 500), (b"\xff", 502)],
)
def test_what_is_no_answer(body, status):
    with pytest.raises(Unavailable):
        read(Answer, body, status)


@given(st.binary(max_size=200), st.integers(100, 599))
def test_whatever_comes_is_an_answer_or_our_error(body, status):
    for type_ in (Answer, Activated, Mounted, Got):
        try:
            assert isinstance(read(type_, body, status), type_)
        except VolDriverError:
            continue


@pytest.mark.parametrize(
    "path", ["", "relative", "/", "/a/../etc", "//", "/a\0b", "/" + "x" * 5000]
)
def test_mountpoints_that_are_none(path):
    with pytest.raises(Unavailable):
        check_mountpoint(path, plugin="p")


def test_a_mountpoint():
    assert str(check_mountpoint("/mnt/x", plugin="p")) == "/mnt/x"

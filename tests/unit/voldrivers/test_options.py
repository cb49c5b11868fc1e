import pytest
from hypothesis import given
from hypothesis import strategies as st

from voldrivers.errors import Invalid
from voldrivers.options import (
    check_allowed,
    check_device,
    check_mode,
    check_type,
    parse_size,
    split_mount_options,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("512m", 512 << 20), ("10G", 10 << 30), ("2kb", 2048), ("1TiB", 1 << 40)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "0m", "-1", "1.5g", "m", "1x", "1 g"])
def test_what_is_no_size(text):
    with pytest.raises(Invalid, match=r"options\.size"):
        parse_size(text)


@given(st.text(max_size=30))
def test_no_mount_option_of_mount_itself_passes(text):
    try:
        words = split_mount_options(text)
    except Invalid:
        return
    for word in words:
        assert "," not in word
        assert word.isprintable()
        assert not word.lower().startswith(("x-", "helper", "user"))


def test_mount_options_in_order():
    assert split_mount_options("rw, noatime,,addr=x") == ["rw", "noatime", "addr=x"]


@pytest.mark.parametrize(
    "check",
    [
        lambda: check_type("-o"),
        lambda: check_type("ext4 x"),
        lambda: check_mode("999"),
        lambda: check_device("a\nb"),
        lambda: check_allowed(["suid"], frozenset({"ro"})),
        lambda: split_mount_options('ro"x'),
    ],
)
def test_refused(check):
    with pytest.raises(Invalid, match=r"options\."):
        check()

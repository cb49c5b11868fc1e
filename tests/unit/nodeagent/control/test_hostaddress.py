"""Addresses of hosts as people write them."""

import pytest

from nodeagent.control.hostaddress import advertised, build_host, parse_remote, source_address
from nodeagent.errors import Invalid


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("192.0.2.1:99", ("192.0.2.1", 99)),
        ("192.0.2.1", ("192.0.2.1", 2377)),
        ("[2001:db8::1]:99", ("2001:db8::1", 99)),
        ("[2001:db8::1]", ("2001:db8::1", 2377)),
        ("2001:db8::1", ("2001:db8::1", 2377)),
        ("manager.test:99", ("manager.test", 99)),
    ],
)
def test_where_a_manager_is(text, found):
    assert parse_remote(text, 2377) == found


@pytest.mark.parametrize("text", ["", ":99", "host:x", "host:0", "host:65536"])
def test_what_is_no_place(text):
    with pytest.raises(Invalid, match="HOST:PORT"):
        parse_remote(text, 2377)


def test_only_an_address_of_this_host_is_told_to_others():
    assert advertised("127.0.0.1") == "127.0.0.1"
    for wrong in ("203.0.113.77", "x", "999.1.1.1"):
        with pytest.raises(Invalid, match="advertise_addr"):
            advertised(wrong)
    assert source_address("127.0.0.1") == "127.0.0.1"


def test_before_a_port():
    assert build_host("::1") == "[::1]"
    assert build_host("192.0.2.1") == "192.0.2.1"

"""Where the agent is."""

import pytest

from nodeagent.rpc.address import DEFAULT_HOST, TcpAddress, parse_host


def test_the_default_is_a_socket():
    assert parse_host(DEFAULT_HOST) == "/run/nodeagent/nodeagent.sock"


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("tcp://192.0.2.1:99", TcpAddress("192.0.2.1", 99)),
        ("tcp://web-1.test", TcpAddress("web-1.test", 2377)),
        ("tcp://[2001:db8::1]:1", TcpAddress("2001:db8::1", 1)),
    ],
)
def test_an_agent_elsewhere(host, found):
    assert parse_host(host) == found


@pytest.mark.parametrize("host", ["", "/run/x.sock", "http://a", "unix://relative", "unix:/x"])
def test_other_forms_are_refused(host):
    with pytest.raises(ValueError, match="expected unix:///PATH or tcp://HOST:PORT"):
        parse_host(host)


WRONG_TCP = ["tcp://", "tcp://:1", "tcp://a:0", "tcp://a:b", "tcp://a:70000", "tcp://a:1/x",
             "tcp://u@a:1", "tcp://a:1?x", "tcp://[::1"]  # fmt: skip


@pytest.mark.parametrize("host", WRONG_TCP)
def test_other_forms_of_tcp_are_refused(host):
    with pytest.raises(ValueError, match="expected tcp://HOST:PORT"):
        parse_host(host)

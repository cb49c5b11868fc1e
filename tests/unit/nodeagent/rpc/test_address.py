"""Where the agent is."""

import pytest

from nodeagent.rpc.address import DEFAULT_HOST, find_host, parse_host


def test_the_flag_goes_before_the_environment_and_that_before_the_default():
    assert find_host("unix:///a", {"NODEAGENT_HOST": "unix:///b"}) == "unix:///a"
    assert find_host(None, {"NODEAGENT_HOST": "unix:///b"}) == "unix:///b"
    assert find_host("", {"NODEAGENT_HOST": ""}) == DEFAULT_HOST
    assert parse_host(DEFAULT_HOST) == "/run/nodeagent/nodeagent.sock"


@pytest.mark.parametrize(
    "host", ["", "/run/x.sock", "tcp://1.2.3.4:1", "unix://relative", "unix:/x"]
)
def test_other_forms_are_refused(host):
    with pytest.raises(ValueError, match="expected unix:///PATH"):
        parse_host(host)

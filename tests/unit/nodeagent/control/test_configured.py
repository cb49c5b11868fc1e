import pytest

from nodeagent.config import parse_config
from nodeagent.control.configured import build_settings
from nodeagent.errors import Invalid


def settings_of(text):
    return build_settings(parse_config(text, name="x.toml"), (1024, 4096))


def test_what_is_configured_arrives():
    found = settings_of(
        "[container]\nlog_max_bytes = 7\nlog_driver = 'json-file'\nlog_options = {max-file = '2'}\n"
        "[network]\nmtu_bytes = 1400\n"
    )
    assert (found.logs.max_bytes, found.logs.driver, found.mtu_bytes) == (7, "json-file", 1400)
    assert found.logs.options == {"max-file": "2"}
    assert found.ulimits == {"nofile": (1024, 4096)}


def test_options_that_the_log_driver_does_not_have_stop_the_start():
    with pytest.raises(Invalid, match="max-sise"):
        settings_of("[container]\nlog_options = {max-sise = '2m'}\n")

"""Signal names."""

import pytest

from nodeagent.control.signals import parse_signal
from nodeagent.errors import Invalid


@pytest.mark.parametrize(
    ("text", "number"),
    [("TERM", 15), ("SIGTERM", 15), ("sigkill", 9), ("9", 9), ("RTMIN+3", 37), ("WINCH", 28)],
)
def test_signals(text, number):
    assert parse_signal(text, field="signal") == number


@pytest.mark.parametrize("text", ["0", "65", "SIG42", "FOO", "", "-1"])
def test_no_signals(text):
    with pytest.raises(Invalid, match="field=signal"):
        parse_signal(text, field="signal")

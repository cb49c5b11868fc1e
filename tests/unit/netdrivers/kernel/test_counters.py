"""Counters are read from the text of /proc/net/dev."""

from netdrivers.kernel.counters import parse_counters


def test_counters():
    text = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0: 1234567      10    1    2    0     0          0         0      222       3    4    5    0     0       0          0
"""  # noqa: E501
    assert parse_counters(text) == {
        "eth0": {
            "rx_bytes": 1234567, "rx_packets": 10, "rx_errors": 1, "rx_dropped": 2,
            "tx_bytes": 222, "tx_packets": 3, "tx_errors": 4, "tx_dropped": 5,
        }
    }  # fmt: skip
    assert parse_counters("") == {}
    assert parse_counters("a\nb\neth0: 1 2\n") == {}

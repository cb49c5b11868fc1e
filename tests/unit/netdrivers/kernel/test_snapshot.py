"""What is read from text: the table's stamp, the operator's rules, counters."""

from netdrivers.kernel.snapshot import build_stamp, operator_rules, parse_counters, veth_name

TABLE = """table inet nodeagent {
	set same {
		type ifname . ifname
	}

	chain operator-before {
	}

	chain stamp-0123456789abcdef {
	}

	chain decide {
		ct state established,related return
	}

	chain operator-after {
	}
}
"""


def test_the_stamp_follows_our_rules_and_not_the_operators():
    stamp = build_stamp(TABLE)
    theirs = TABLE.replace("operator-before {", "operator-before {\n\t\ttcp dport 22 drop")
    assert build_stamp(theirs) == stamp
    assert build_stamp(TABLE.replace("stamp-0123456789abcdef", "stamp-1")) == stamp
    without = "".join(TABLE.split("\tchain stamp-0123456789abcdef {\n\t}\n\n"))
    assert build_stamp(without) == stamp
    assert build_stamp(TABLE.replace("return", "accept")) != stamp
    assert build_stamp(TABLE.replace("ifname . ifname", "ifname")) != stamp


def test_rules_of_the_operator_are_seen():
    assert not operator_rules(TABLE)
    assert operator_rules(TABLE.replace("operator-after {", "operator-after {\n\t\tdrop"))


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


def test_the_name_of_a_host_end_fits():
    assert veth_name("f" * 64) == "ve" + "f" * 13

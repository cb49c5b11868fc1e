"""The table's stamp and the operator's rules are read from its text."""

from netdrivers.kernel.stamp import build_stamp, operator_rules

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

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.container.attach import build_control, parse_packet, write_control
from runtime.errors import Missing


@given(st.binary())
def test_packets(data):
    assert parse_packet(b"\x02" + data) == ("stdout", data)
    assert parse_packet(b"\x03" + data) == ("stderr", data)


def test_control_lines():
    assert build_control(1, 24, 80) == b"1 24 80\n"
    assert build_control(1, 9999, 80) == b"1 1000 80\n"
    assert build_control(2) == b"2 0 0\n"


def test_no_conmon_to_tell(tmp_path):
    with pytest.raises(Missing):
        write_control(tmp_path, b"1 1 1\n")

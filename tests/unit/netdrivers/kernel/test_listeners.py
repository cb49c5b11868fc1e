"""Listeners as /proc prints them; and what this very process listens on."""

import socket
from ipaddress import ip_address

from netdrivers.kernel.listeners import (
    Listener,
    parse_listeners,
    read_listeners,
    read_tracking,
)

TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   1: 0100007F:1F90 0100007F:8001 01 00000000:00000000 00:00000000 00000000     0
"""
UDP6 = """  sl  local_address                         remote_address                        st
  7: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 0:0
"""


def test_of_connections_only_listeners() -> None:
    known = Listener(protocol="tcp", ip=ip_address("127.0.0.1"), port=8080)
    assert parse_listeners(TCP, "tcp") == {known}
    assert parse_listeners(UDP6, "udp") == {Listener(protocol="udp", ip=ip_address("::1"), port=53)}


def test_a_real_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        known = Listener(protocol="tcp", ip=ip_address("127.0.0.1"), port=port)
        assert known in read_listeners()
    assert known not in read_listeners()


def test_tracking_is_two_numbers() -> None:
    count, most = read_tracking()
    assert 0 <= count <= max(most, count)

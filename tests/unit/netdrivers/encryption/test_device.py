"""From what a device is to what it should be; both ways of telling it so.

Covers netdrivers/encryption/uapi.py, netdrivers/encryption/kernelwg.py,
netdrivers/kernel/wgcodec.py
"""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdrivers.contract.encryption import PeerSpec
from netdrivers.encryption import uapi
from netdrivers.encryption.device import Device, Peer, Seen, Steps, build_peers, diff
from netdrivers.encryption.kernelwg import build_requests, build_seen
from netdrivers.encryption.keys import address_of, parse_key, public_key
from netdrivers.errors import Refused
from netdrivers.kernel import wgcodec
from netdrivers.kernel.codec import attr, parse_attrs, parse_list

PRIVATE = [bytes([n]) * 32 for n in range(1, 6)]
KEYS = [public_key(each) for each in PRIVATE]
SPECS = {
    key: PeerSpec(key=key, host=ip_address(host), port=51820)
    for key, host in zip(KEYS, ["192.0.2.1", "192.0.2.2", "2001:db8::3", "192.0.2.4", "::5"],
                         strict=True)
}  # fmt: skip
WANT = Device(private=PRIVATE[0], port=51820, peers=build_peers(SPECS, KEYS[0]))


def test_a_host_is_no_peer_of_its_own():
    assert set(WANT.peers) == set(KEYS[1:])


def test_what_is_right_needs_no_step():
    seen = Seen(key=KEYS[0], port=51820, peers=dict(WANT.peers))
    assert not diff(seen, WANT, KEYS[0])


def test_only_what_differs_is_set():
    peers = dict(WANT.peers)
    moved = replace(peers[KEYS[1]], host=ip_address("192.0.2.99"))
    seen = Seen(
        key=KEYS[0],
        port=1,
        peers={KEYS[1]: moved, KEYS[2]: peers[KEYS[2]], KEYS[3]: None, "x": None},
    )
    steps = diff(seen, WANT, KEYS[0])
    assert (steps.private, steps.port, steps.drop) == (None, 51820, ("x",))
    assert {each.key for each in steps.put} == {KEYS[1], KEYS[3], KEYS[4]}


def test_another_key_is_replaced():
    assert diff(Seen(key=KEYS[1], port=51820), WANT, KEYS[0]).private == PRIVATE[0]


def text_of(want: Device) -> bytes:
    """What wireguard-go says of a device that is as wanted."""
    lines = [f"private_key={want.private.hex()}", f"listen_port={want.port}"]
    for peer in want.peers.values():
        lines += [
            f"public_key={parse_key(peer.key).hex()}",
            f"endpoint={uapi.endpoint_text(peer.host, peer.port)}",
            "last_handshake_time_sec=1700000000", "last_handshake_time_nsec=500000000",
            "tx_bytes=10", "rx_bytes=20", f"allowed_ip={peer.address}/128",
        ]  # fmt: skip
    return "\n".join([*lines, "errno=0", "", ""]).encode()


def test_what_wireguard_go_says_is_understood():
    seen = uapi.parse_get(text_of(WANT))
    assert not diff(seen, WANT, KEYS[0])
    status = seen.status[KEYS[2]]
    assert (status.handshake_s, status.rx_bytes, status.tx_bytes) == (1700000000.5, 20, 10)


@pytest.mark.parametrize("more", ["allowed_ip=::/0", "allowed_ip=10.0.0.0/8"])
def test_a_peer_that_may_send_for_others_is_put_right(more):
    text = text_of(WANT).replace(b"errno=0", f"{more}\nerrno=0".encode())
    steps = diff(uapi.parse_get(text), WANT, KEYS[0])
    assert [each.key for each in steps.put] == [KEYS[4]]


def test_what_is_set_reads_as_documented():
    peer = WANT.peers[KEYS[2]]
    text = uapi.build_set(Steps(private=PRIVATE[0], port=7, put=(peer,), drop=(KEYS[1],))).decode()
    assert text.splitlines() == [
        "set=1", f"private_key={PRIVATE[0].hex()}", "listen_port=7",
        f"public_key={parse_key(KEYS[1]).hex()}", "remove=true",
        f"public_key={parse_key(KEYS[2]).hex()}", "endpoint=[2001:db8::3]:51820",
        "replace_allowed_ips=true", f"allowed_ip={address_of(KEYS[2])}/128", "",
    ]  # fmt: skip
    assert text.endswith("\n\n")


def test_an_error_is_refused():
    with pytest.raises(Refused):
        uapi.check_answer(b"errno=22\n\n")
    with pytest.raises(Refused):
        uapi.parse_get(b"")


# --- the kernel's ---------------------------------------------------------------------------------


def answer(request) -> bytes:
    """What the kernel would say of what a request sets: the attributes are the same ones."""
    attrs = parse_attrs(request.body, wgcodec.GENL.size)
    body = wgcodec.GENL.pack(0, 1) + attr(wgcodec.DEVICE_PUBLIC, parse_key(KEYS[0]))
    body += attr(wgcodec.DEVICE_PORT, attrs.get(wgcodec.DEVICE_PORT, bytes(2)))
    return body + attr(wgcodec.DEVICE_PEERS, attrs.get(wgcodec.DEVICE_PEERS, b""))


def test_what_the_kernel_is_told_is_what_it_would_say():
    steps = diff(Seen(key="", port=0), WANT, KEYS[0])
    requests = build_requests(30, "wg-1", steps)
    seen = build_seen([wgcodec.parse_device(answer(each)) for each in requests])
    assert not diff(seen, WANT, KEYS[0])


def test_many_peers_are_cut_into_messages_that_fit():
    many = tuple(
        Peer(key=public_key((n + 1).to_bytes(32, "big")), host=ip_address("2001:db8::1"), port=1,
             address=ip_address("fd6e:6164:6167::1"))
        for n in range(1000)
    )  # fmt: skip
    requests = build_requests(30, "wg-1", Steps(put=many))
    assert max(len(each.body) for each in requests) < 1 << 16
    peers = [
        peer
        for each in requests
        for kind, raw in parse_list(each.body, wgcodec.GENL.size)
        if kind == wgcodec.DEVICE_PEERS
        for peer in parse_list(raw)
    ]
    assert len(peers) == 1000


def test_known_bytes_of_a_peer_that_goes():
    key = bytes(range(32))
    raw = wgcodec.drop_peer(key)
    assert raw.hex() == "30000080" + "24000100" + key.hex() + "0800030001000000"


@given(st.binary(max_size=80))
def test_any_answer_of_a_kernel_is_taken(data):
    wgcodec.parse_device(b"\0\1\0\0" + data[:3])

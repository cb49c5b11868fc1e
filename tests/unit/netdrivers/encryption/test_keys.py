"""Keys, held against the program of WireGuard's authors."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdrivers.encryption.keys import PREFIX, address_of, create_key, parse_key, public_key
from netdrivers.errors import Invalid


def wg_pubkey(private: bytes) -> str:
    from base64 import b64encode

    done = subprocess.run(
        ["wg", "pubkey"], input=b64encode(private), capture_output=True, check=True
    )
    return done.stdout.decode().strip()


def test_public_keys_are_those_of_wg():
    try:
        subprocess.run(["wg", "--version"], capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip("wireguard-tools is not installed: nobody to compare with")
    key = create_key()
    assert public_key(key) == wg_pubkey(key)


def test_an_address_follows_from_the_key_and_is_ours():
    one, two = (public_key(n.to_bytes(32, "big")) for n in (1, 2))
    assert address_of(one) == address_of(one)
    assert address_of(one) != address_of(two)
    assert address_of(one) in PREFIX


@given(st.text(max_size=60))
def test_any_text_is_a_key_or_invalid(text):
    try:
        assert len(parse_key(text)) == 32
    except Invalid:
        return

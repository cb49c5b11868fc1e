"""Keys of WireGuard and the addresses that follow from them. Pure but for the key that is made.

Source: wireguard.com/protocol; RFC 7748; RFC 4193.
"""

import binascii
import hashlib
from base64 import b64decode, b64encode
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from netdrivers.errors import Invalid

KEY_BYTES: Final = 32
PREFIX: Final = IPv6Network("fd6e:6164:6167::/48")  # of all hosts' addresses inside
HOST_BYTES: Final = 10


def create_key() -> bytes:
    """A new private key."""
    return X25519PrivateKey.generate().private_bytes_raw()


def public_key(private: bytes) -> str:
    """The public key of a private one, base64."""
    key = X25519PrivateKey.from_private_bytes(private).public_key()
    return b64encode(key.public_bytes_raw()).decode()


def parse_key(text: str) -> bytes:
    """The 32 bytes of a base64 key (Invalid)."""
    try:
        key = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise Invalid("not a key of WireGuard: no base64", key=text) from exc
    if len(key) != KEY_BYTES:
        raise Invalid(f"not a key of WireGuard: {KEY_BYTES} bytes, base64", key=text)
    return key


def address_of(public: str) -> IPv6Address:
    """A host's address inside. It follows from the key, so nobody allocates it or can take it."""
    digest = hashlib.sha256(b"nodeagent address\0" + parse_key(public)).digest()
    return IPv6Address(PREFIX.network_address.packed[:6] + digest[:HOST_BYTES])

"""What the two agents say to each other, as bytes; pure.

Each message is one packet of JSON; descriptors travel beside it, in the order of its names. The
kernel passes at most 253 with one packet, so many names go in several pieces.
"""

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

import msgspec

PROTOCOL: Final = 1
PIECE_FDS: Final = 253  # SCM_MAX_FD
MESSAGE_BYTES: Final = 32 << 10  # 253 names of 60 characters are half of that

_T = TypeVar("_T")


class NotSpoken(Exception):
    """The other side's bytes are none of this protocol."""


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """New to old: give me your sockets."""

    protocol: int
    version: str
    root: str
    netns: int  # inode of the network namespace it is in


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """Old to new: no; I go on as if you had not asked."""

    kind: str
    message: str


class Piece(msgspec.Struct, frozen=True, tag="piece"):
    """Old to new: descriptors of these names."""

    names: tuple[str, ...]


class Complete(msgspec.Struct, frozen=True, tag="complete"):
    """Old to new: that was all; since ``stopped_s`` (CLOCK_MONOTONIC) RPC has not been served."""

    total: int
    stopped_s: float


class Word(msgspec.Struct, frozen=True, tag="word"):
    """New to old: I have everything and serve."""


Answer = Refusal | Piece | Complete


def build(message: msgspec.Struct) -> bytes:
    """Build one packet."""
    return msgspec.json.encode(message)


def parse(packet: bytes, kind: type[_T]) -> _T:
    """Read one packet as a message of this kind.

    Raises:
        NotSpoken: it is none.
    """
    try:
        return msgspec.json.decode(packet, type=kind)
    except msgspec.DecodeError as exc:
        raise NotSpoken(f"not a message of a takeover: {exc}") from exc


def parse_protocol(packet: bytes) -> int:
    """The protocol of who asks, whatever else it says: all versions have this field.

    Raises:
        NotSpoken: it has none.
    """
    return parse(packet, _AnyAsk).protocol


class _AnyAsk(msgspec.Struct, frozen=True, tag="ask"):
    protocol: int


def split(fds: Mapping[str, int]) -> Iterator[tuple[Piece, list[int]]]:
    """Cut a bundle into pieces that the kernel passes."""
    names = tuple(fds)
    for first in range(0, len(names), PIECE_FDS):
        part = names[first : first + PIECE_FDS]
        yield Piece(names=part), [fds[name] for name in part]


def join(into: dict[str, int], piece: Piece, fds: list[int]) -> list[int]:
    """Add a piece to a bundle; the descriptors that are too many, for the caller to close.

    Raises:
        NotSpoken: fewer descriptors came than names: this process may not open more.
    """
    if len(fds) < len(piece.names):
        raise NotSpoken(
            f"{len(piece.names)} descriptors were sent and {len(fds)} came: raise the limit of"
            " open files (ulimit -n)"
        )
    surplus = list(fds[len(piece.names) :])
    for name, fd in zip(piece.names, fds, strict=False):
        if name in into:
            surplus.append(into[name])
        into[name] = fd
    return surplus

"""Who may use a volume: leases with epochs, and when another one is granted. Pure.

The terms are those of Docker's cluster volumes: ``none`` one user, ``readonly`` readers only,
``onewriter`` one writer beside readers, ``all`` everybody.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from nodeagent.errors import Busy

Access = Literal["rw", "ro"]
Sharing = Literal["none", "readonly", "onewriter", "all"]


class Lease(Struct, frozen=True, kw_only=True):
    """The right of one holder to one volume.

    ``epoch`` rises with every grant of the volume, so that storage that knows it can turn away a
    holder that was declared dead and is not.
    """

    volume: str
    holder: str  # a container's id, or what else mounts
    node: str  # the agent's id
    epoch: int
    access: Access
    taken: str  # when, as all times
    leaving: bool = False  # being given back; until the driver has unmounted it counts
    name: str = ""  # the holder's, for people
    node_name: str = ""
    session: int = 0  # of a cluster: the node's, without which the lease is void


class Book(Struct, frozen=True, kw_only=True):
    """All that is durable about the use of one volume; one key, so a grant is one comparison."""

    volume: str
    epoch: int = 0  # of the last grant
    leases: list[Lease] = []
    last_user: str = ""  # name of the last container it was granted to
    last_used: str = ""  # when that was, or when it was given back


class Claim(Struct, frozen=True, kw_only=True):
    """What a holder asks for."""

    volume: str
    access: Access
    sharing: Sharing = "all"


class Holder(Struct, frozen=True, kw_only=True):
    """Who asks, and under which name people know it."""

    id: str
    name: str
    node: str
    session: int = 0
    node_name: str = ""


def grant(book: Book, claim: Claim, holder: Holder, *, now: str) -> Book:
    """The book with the holder's lease in it; unchanged if it has that lease.

    Raises:
        Busy: the sharing mode does not allow it beside the leases there are; says whose.
    """
    others = [each for each in book.leases if each.holder != holder.id]
    for each in book.leases:
        if each.holder == holder.id and each.access == claim.access and not each.leaving:
            return book
    _check(claim, others)
    lease = Lease(
        volume=book.volume,
        holder=holder.id,
        node=holder.node,
        epoch=book.epoch + 1,
        access=claim.access,
        taken=now,
        name=holder.name,
        node_name=holder.node_name,
        session=holder.session,
    )
    return Book(
        volume=book.volume,
        epoch=lease.epoch,
        leases=[*others, lease],
        last_user=holder.name,
        last_used=now,
    )


def _check(claim: Claim, others: list[Lease]) -> None:
    in_the_way = {
        "none": others,
        "readonly": [],
        "onewriter": [each for each in others if each.access == "rw"] * (claim.access == "rw"),
        "all": [],
    }[claim.sharing]
    if in_the_way:
        kind = "writer" if claim.sharing == "onewriter" else "user"
        raise Busy(
            f"the volume allows one {kind} (sharing={claim.sharing}); stop the other first:"
            f" {', '.join(map(say_who, in_the_way))}",
            field="name",
            name=claim.volume,
            by=[each.holder[:12] for each in in_the_way],
        )
    if claim.sharing == "readonly" and claim.access == "rw":
        raise Busy(
            "the volume is for readers only (sharing=readonly); mount it with :ro",
            field="read_only",
            name=claim.volume,
        )


def say_who(lease: Lease) -> str:
    """The holder as people know it, and of a cluster where it is."""
    where = f" on node {lease.node_name or lease.node}" if lease.session else ""
    return f"{lease.name or lease.holder[:12]}{where} (epoch {lease.epoch})"


def without_void(book: Book, sessions: Mapping[str, int]) -> Book:
    """The book without leases of nodes that have lost their session. Pure.

    ``sessions`` must have been read after the book: a session that is not there has ended for ever.
    """
    leases = [each for each in book.leases if sessions.get(each.node) == each.session]
    return book if leases == book.leases else msgspec.structs.replace(book, leases=leases)


def keep(book: Book, holder: str, session: int) -> Book | None:
    """The book with the holder's lease in a new session; None if it has none any more.

    That it is still there means that nobody was granted the volume since, so the epoch stays.
    """
    if all(each.holder != holder for each in book.leases):
        return None
    leases = [
        msgspec.structs.replace(each, session=session) if each.holder == holder else each
        for each in book.leases
    ]
    return book if leases == book.leases else msgspec.structs.replace(book, leases=leases)


def leave(book: Book, holder: str) -> Book:
    """The book with the holder's lease marked as being given back; unchanged without one."""
    leases = [
        msgspec.structs.replace(each, leaving=True) if each.holder == holder else each
        for each in book.leases
    ]
    return book if leases == book.leases else msgspec.structs.replace(book, leases=leases)


def drop(book: Book, holder: str, *, now: str) -> Book:
    """The book without the holder's lease; unchanged without one."""
    leases = [each for each in book.leases if each.holder != holder]
    if len(leases) == len(book.leases):
        return book
    return msgspec.structs.replace(book, leases=leases, last_used=now)

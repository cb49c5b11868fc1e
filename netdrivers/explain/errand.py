"""What a probe is told to do, and what it brings home: the words between agent and child. Pure."""

from typing import Literal

from msgspec import Struct

Protocol = Literal["icmp", "tcp", "udp"]
What = Literal["probe", "reply", "error"]


class Space(Struct, frozen=True, kw_only=True):
    """A network namespace to watch. ``id``: the sandbox, "" for the agent's own.

    ``swallow``: a datagram of ours ends before the program sees it.
    """

    id: str
    path: str
    links: list[str]
    swallow: bool = False


class Errand(Struct, frozen=True, kw_only=True):
    """One probe, sent from the first space.

    ``tag`` is even; it is the source port and the identification of the small packet, and one more
    that of the big one. ``big_bytes`` 0: no big one.
    """

    spaces: list[Space]
    source: str
    target: str
    protocol: Protocol
    port: int
    tag: int
    big_bytes: int = 0
    wait_s: float = 1.0


class Seen(Struct, frozen=True, kw_only=True):
    """A packet of ours passed a link.

    ``missed``: it came in for another MAC than the link's. A reply without a link is a datagram
    that came to its very end, where nobody must answer.
    """

    space: str
    link: str
    outgoing: bool
    what: What
    big: bool
    text: str
    missed: bool = False


class Ruled(Struct, frozen=True, kw_only=True):
    """A rule, or the policy of a chain ("policy drop"), dropped a packet of ours."""

    space: str
    what: What
    big: bool
    family: str
    table: str
    chain: str
    rule: str

    def __str__(self) -> str:
        return f"`{self.rule}` of chain {self.chain} in table {self.family} {self.table}"


class Tidings(Struct, frozen=True, kw_only=True):
    """What was seen. ``refused``: the kernel's words when it would not even send."""

    seen: list[Seen] = []
    ruled: list[Ruled] = []
    refused: str = ""
    notes: list[str] = []

"""One hop under judgement: what was read of it, and which sightings prove that it was passed."""

from dataclasses import dataclass, field, replace

from netdrivers.contract.explain import Hop

Mark = tuple[str, str, bool]  # namespace, link, whether it went out there


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A hop; ``past``: where a packet is seen that got past it.

    ``ruled``: the namespace whose rules belong to it. ``firm``: to be seen further on proves
    nothing about it; only to be seen at ``past`` itself does.
    """

    hop: Hop
    past: frozenset[Mark] = field(default_factory=frozenset)
    ruled: str | None = None
    firm: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is the same by at another look."""
        several = self.hop.place in {"veth", "bridge", "tracking"}
        return self.hop.place, self.hop.where, self.hop.what if several else ""

    def but(self, hop: Hop) -> "Station":
        """The same with another verdict."""
        return replace(self, hop=hop)


def judged(hop: Hop, why: str, fix: str = "") -> Hop:
    """The hop; it fails if there is a reason why."""
    return replace(hop, state="fails", why=why, fix=fix) if why else hop

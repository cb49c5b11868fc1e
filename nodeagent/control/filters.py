"""Which objects a ``prune`` means, whatever their kind: Docker's filters. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from nodeagent.control.creation import matches_labels
from nodeagent.control.times import parse_since, parse_time
from nodeagent.errors import Invalid

Filters = Mapping[str, Sequence[str]]
PRUNE: Final = ("label", "label!", "until")


def check_known(filters: Filters, known: Sequence[str]) -> None:
    """Refuse a filter that would silently choose nothing or all (Invalid names it)."""
    for key in filters:
        if key not in known:
            raise Invalid("no such filter", field="filters", value=key, have=tuple(known))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What the filters of one prune leave to be removed, by labels and age."""

    labels: Sequence[str]  # "key" or "key=value": all of them
    without: Sequence[str]  # none of them
    before: float  # seconds since the epoch: only what was made earlier

    @classmethod
    def parse(cls, filters: Filters, *, now: float) -> Self:
        """Read the filters as a whole, before anything is removed.

        Raises:
            Invalid: an unknown filter, or an ``until`` that is no time.
        """
        check_known(filters, PRUNE)
        times = [
            parse_since(text, now=now, field="filters.until") for text in filters.get("until", [])
        ]
        return cls(
            labels=filters.get("label", []),
            without=filters.get("label!", []),
            before=min(times, default=float("inf")),
        )

    def means(self, labels: Mapping[str, str], created: str) -> bool:
        """Whether an object with these labels, made at that time (RFC 3339), is meant."""
        return (
            matches_labels(labels, self.labels)
            and not any(matches_labels(labels, [word]) for word in self.without)
            and parse_time(created) < self.before
        )

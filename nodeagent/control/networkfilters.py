"""Which networks ``network ls`` means: Docker's filters. Pure."""

from collections.abc import Callable, Mapping
from typing import Final

from nodeagent.control.creation import matches_labels
from nodeagent.control.filters import Filters, check_known
from nodeagent.errors import Invalid
from nodeagent.model.network import NetworkRecord

LS: Final = ("dangling", "driver", "id", "label", "name", "scope", "type")
_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "dangling": ("true", "false", "1", "0"),
    "scope": ("local", "global", "swarm"),
    "type": ("builtin", "custom"),
}


def check_filters(filters: Filters) -> None:
    """Refuse what would silently choose nothing or all (Invalid names the filter)."""
    check_known(filters, LS)
    for key, values in filters.items():
        allowed = _VALUES.get(key)
        for value in values:
            if allowed and value not in allowed:
                raise Invalid("no such value", field=f"filters.{key}", value=value, have=allowed)


def is_listed(record: NetworkRecord, filters: Filters, *, in_use: bool) -> bool:
    """Whether ``network ls`` shows it: any value of a filter does, but each of labels and names."""
    kind = "builtin" if record.predefined else "custom"
    dangling = not in_use and not record.predefined
    wanted = [value in {"true", "1"} for value in filters.get("dangling", [])]
    return (
        matches_labels(record.labels, filters.get("label", []))
        and _any(filters, "name", lambda word: word in record.name)
        and _any(filters, "id", record.id.startswith)
        and _any(filters, "driver", lambda word: word == record.driver)
        and _any(filters, "scope", lambda word: word == "local")
        and _any(filters, "type", lambda word: word == kind)
        and (not wanted or dangling in wanted)
    )


def _any(filters: Filters, key: str, fits: Callable[[str], bool]) -> bool:
    values = filters.get(key, ())
    return not values or any(fits(value) for value in values)

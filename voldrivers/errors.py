"""Errors of volumes and mounts: what was being done, with what, and a kind.

The kinds are a closed set that the agent maps to wire codes without importing a leaf:
invalid, missing, conflict, exhausted, busy, refused, unavailable, internal.
"""

from typing import ClassVar


class VolDriverError(Exception):
    """What was being done, and with what. Never raised itself, only its leaves."""

    kind: ClassVar[str] = "internal"

    def __init__(self, doing: str, /, **fields: object) -> None:
        super().__init__(doing)
        self.doing = doing
        self.fields = fields

    def __str__(self) -> str:
        return " ".join([self.doing, *(f"{key}={value}" for key, value in self.fields.items())])


class Invalid(VolDriverError):
    """The caller asked for something that cannot be; the message names the field and the fix."""

    kind: ClassVar[str] = "invalid"


class Missing(VolDriverError):
    """No such object."""

    kind: ClassVar[str] = "missing"


class Conflict(VolDriverError):
    """Something that is not ours to change is in the way, or the name is taken."""

    kind: ClassVar[str] = "conflict"


class Exhausted(VolDriverError):
    """No space, address, port or descriptor is left."""

    kind: ClassVar[str] = "exhausted"


class Busy(VolDriverError):
    """The object is in use; the message says by whom."""

    kind: ClassVar[str] = "busy"


class Refused(VolDriverError):
    """The kernel, a peer or a policy said no."""

    kind: ClassVar[str] = "refused"


class Unavailable(VolDriverError):
    """A part that is needed does not answer or is not installed; trying later may help."""

    kind: ClassVar[str] = "unavailable"


class NotAsked(Unavailable):
    """The driver did not answer before, so it was not even asked: nothing was begun."""


class Internal(VolDriverError):
    """A defect of ours."""

    kind: ClassVar[str] = "internal"

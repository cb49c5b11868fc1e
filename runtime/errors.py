"""Errors of images, root filesystems and containers: what was being done, with what, and a kind.

The kinds are a closed set that the agent maps to wire codes without importing a leaf:
invalid, missing, conflict, exhausted, busy, refused, unavailable, internal.
"""

from typing import ClassVar


class RunError(Exception):
    """What was being done, and with what. Never raised itself, only its leaves."""

    kind: ClassVar[str] = "internal"

    def __init__(self, doing: str, /, **fields: object) -> None:
        super().__init__(doing)
        self.doing = doing
        self.fields = fields

    def __str__(self) -> str:
        return " ".join([self.doing, *(f"{key}={value}" for key, value in self.fields.items())])


class Invalid(RunError):
    """The caller asked for something that cannot be; the message names the field and the fix."""

    kind: ClassVar[str] = "invalid"


class Missing(RunError):
    """No such object."""

    kind: ClassVar[str] = "missing"


class Conflict(RunError):
    """Something that is not ours to change is in the way, or the name is taken."""

    kind: ClassVar[str] = "conflict"


class Exhausted(RunError):
    """No space, address, port or descriptor is left."""

    kind: ClassVar[str] = "exhausted"


class Busy(RunError):
    """The object is in use; the message says by whom."""

    kind: ClassVar[str] = "busy"


class Refused(RunError):
    """The kernel, a peer or a policy said no."""

    kind: ClassVar[str] = "refused"


class Unavailable(RunError):
    """A part that is needed does not answer or is not installed; trying later may help."""

    kind: ClassVar[str] = "unavailable"


class Internal(RunError):
    """A defect of ours."""

    kind: ClassVar[str] = "internal"

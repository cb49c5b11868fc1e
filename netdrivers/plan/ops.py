"""One step of a plan."""

from dataclasses import dataclass
from typing import Literal

from netdrivers.plan.objects import KernelObject

Verb = Literal["add", "change", "delete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """Add, change or delete one object. ``was``: what a change replaces."""

    verb: Verb
    obj: KernelObject
    was: KernelObject | None = None

    @property
    def undo(self) -> "Op | None":
        """The op that takes this one back; None for a deletion, which stays done.

        What has no owner is shared with other applies and stays as well.
        """
        if not self.obj.owner:
            return None
        if self.verb == "add":
            return Op(verb="delete", obj=self.obj)
        if self.verb == "change" and self.was is not None:
            return Op(verb="change", obj=self.was, was=self.obj)
        return None

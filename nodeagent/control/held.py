"""What a draft of a change holds until its record does, or until it was only looked at."""

from contextlib import AsyncExitStack


class Held(AsyncExitStack):
    """Names, addresses and the like. ``for_plan``: other hosts are not to know of it."""

    def __init__(self, *, for_plan: bool = False) -> None:
        super().__init__()
        self.for_plan = for_plan

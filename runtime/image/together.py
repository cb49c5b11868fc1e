"""Several steps at once, of which the first failure ends the others."""

from collections.abc import Awaitable, Callable, Iterable

import trio

from runtime import errors


async def together(steps: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Run all steps; an error of ours is raised as it is, not in a group."""
    try:
        async with trio.open_nursery() as nursery:
            for step in steps:
                nursery.start_soon(step)
    except BaseExceptionGroup as group:
        ours = _first(group)
        if ours is None:
            raise
        raise ours from group


def _first(group: BaseExceptionGroup[BaseException]) -> errors.RunError | None:
    """The first error of ours in a group."""
    for exc in group.exceptions:
        ours = _first(exc) if isinstance(exc, BaseExceptionGroup) else exc
        if isinstance(ours, errors.RunError):
            return ours
    return None

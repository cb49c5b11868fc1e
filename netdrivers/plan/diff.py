"""From what is and what should be to the steps between."""

from collections.abc import Iterable, Mapping, Sequence

from netdrivers.plan.objects import KernelObject, Key
from netdrivers.plan.ops import Op

State = Mapping[Key, KernelObject]


def build_state(objects: Iterable[KernelObject]) -> dict[Key, KernelObject]:
    """Index objects by key; of two with one key the first stays."""
    state: dict[Key, KernelObject] = {}
    for obj in objects:
        state.setdefault(obj.key, obj)
    return state


def without(state: State, gone: Iterable[Key]) -> dict[Key, KernelObject]:
    """The state less what these keys stand for and all that hangs on it."""
    ends = set(gone)
    left = dict(state)
    while lost := [obj for obj in left.values() if ends & {obj.within, *obj.provides}]:
        ends.update(key for obj in lost for key in obj.provides)
        for obj in lost:
            del left[obj.key]
    return left


def diff(have: State, want: State) -> tuple[Op, ...]:
    """Adds and changes in rank order, then deletions in reverse rank order.

    Adds come first, so that no gap without an address makes the kernel drop routes. What ends
    together with something else that is deleted gets no step of its own.
    """
    adds = [
        _enter(have.get(key), obj) for key, obj in want.items() if not _is_same(have.get(key), obj)
    ]
    gone = [obj for key, obj in have.items() if key not in want]
    ends = {key for obj in gone for key in obj.provides}
    dels = [Op(verb="delete", obj=obj) for obj in gone if obj.within not in ends]
    return (*_by_rank(adds), *reversed(_by_rank(dels)))


def _is_same(was: KernelObject | None, obj: KernelObject) -> bool:
    return was is obj or was == obj


def _enter(was: KernelObject | None, obj: KernelObject) -> Op:
    if was is None:
        return Op(verb="add", obj=obj)
    return Op(verb="change", obj=obj, was=was)


def _by_rank(ops: Sequence[Op]) -> list[Op]:
    # the key makes the order of a plan the same every time, for goldens and for readers
    return sorted(ops, key=lambda op: (op.obj.rank, op.obj.key))

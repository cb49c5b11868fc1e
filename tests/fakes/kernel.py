"""A kernel in memory that refuses what Linux refuses, and one that fails when told to."""

from collections.abc import Callable, Sequence

import trio

from netdrivers.errors import Refused
from netdrivers.kernel.snapshot import Found, View
from netdrivers.plan.objects import (
    Address,
    Bridge,
    Element,
    Forwarding,
    KernelObject,
    Key,
    Macvlan,
    Parent,
    Route,
    Table,
    Veth,
)
from netdrivers.plan.ops import Op
from netdrivers.plan.render import render_op


class FakeKernel:
    """Objects by key. Shared by engines that are to see the same host."""

    def __init__(self, foreign: frozenset[str] = frozenset(), parents: str = "up0") -> None:
        self.objects: dict[Key, KernelObject] = {}
        self.foreign = foreign  # names of links that are not ours and in the way
        self.parents = set(parents.split())  # links of the operator's that macvlans may hang on

    async def open(self) -> list[Element]:
        return [obj for obj in self.objects.values() if isinstance(obj, Element)]

    async def read(self, view: View) -> Found:
        everything = view.networks is None or view.sandboxes is None
        owners = (view.networks or frozenset()) | (view.sandboxes or frozenset())
        seen = {
            key: obj
            for key, obj in self.objects.items()
            if (everything and obj.owner) or obj.owner in owners or key in view.want
        }
        wanted = [obj for obj in view.want.values() if isinstance(obj, Parent)]
        seen |= {obj.key: obj for obj in wanted if obj.name in self.parents}
        links = [obj.name for obj in view.want.values() if isinstance(obj, Bridge | Veth)]
        in_the_way = {
            ("link", "", name): f"link {name} is not ours" for name in links if name in self.foreign
        }
        lacking = dict.fromkeys(self._absent(view, seen), "is not there")
        return Found(objects=seen, foreign=in_the_way, lacking=lacking)

    def _absent(self, view: View, seen: dict[Key, KernelObject]) -> set[str]:
        there = self.parents | {obj.name for obj in seen.values() if isinstance(obj, Parent)}
        return {
            obj.lower or obj.name
            for obj in view.want.values()
            if isinstance(obj, Parent) and obj.kind != "dummy" and obj.name not in there
        } - self.parents

    async def change(self, ops: Sequence[Op], done: list[Op]) -> None:
        for op in ops:
            await trio.lowlevel.checkpoint()
            self._one(op)
            done.append(op)

    def _one(self, op: Op) -> None:
        there = op.obj.key in self.objects
        shared = isinstance(op.obj, Table | Forwarding)
        if op.verb == "add" and there and not shared:
            raise Refused("File exists", op=render_op(op))
        if op.verb != "add" and not there:
            raise Refused("No such file or directory", op=render_op(op))
        if op.verb == "delete":
            self._delete(op.obj)
            return
        for need in self._needs(op.obj):
            theirs = need[:2] == ("link", "") and need[2] in self.parents
            if not theirs and not any(need in obj.provides for obj in self.objects.values()):
                raise Refused("No such device", op=render_op(op), needs=need)
        if isinstance(op.obj, Macvlan) and op.verb == "add" and not self._has_room(op.obj):
            raise Refused("Invalid argument", op=render_op(op))
        if isinstance(op.obj, Route) and op.obj.via and not self._reaches(op.obj):
            raise Refused("Network is unreachable", op=render_op(op))
        self.objects[op.obj.key] = op.obj

    def _delete(self, obj: KernelObject) -> None:
        del self.objects[obj.key]
        for other in list(self.objects.values()):
            if other.within in obj.provides:
                self.objects.pop(other.key, None)

    def _needs(self, obj: KernelObject) -> list[Key]:
        if isinstance(obj, Veth):
            return [("link", "", obj.bridge), ("sandbox", obj.owner)]
        if isinstance(obj, Macvlan):
            return [("link", "", obj.parent), *([("sandbox", obj.ns)] if obj.ns else [])]
        return [obj.within] if obj.within else []

    def _has_room(self, obj: Macvlan) -> bool:
        """A passthru link has its parent alone."""
        there = [one for one in self.objects.values() if isinstance(one, Macvlan)]
        modes = [one.mode for one in there if one.parent == obj.parent]
        return not modes or "passthru" not in {*modes, obj.mode}

    def _reaches(self, route: Route) -> bool:
        return any(
            obj.ns == route.ns and obj.link == route.link and route.via in obj.ip.network
            for obj in self.objects.values()
            if isinstance(obj, Address)
        )


class StepKernel:
    """Another kernel, one step at a time; before step ``at`` it calls ``then``."""

    def __init__(self, inner, *, at: int, then: Callable[[], None]) -> None:
        self.inner = inner
        self.steps = 0
        self._at = at
        self._then = then

    async def open(self) -> list[Element]:
        return await self.inner.open()

    async def read(self, view: View) -> Found:
        return await self.inner.read(view)

    async def change(self, ops: Sequence[Op], done: list[Op]) -> None:
        for op in ops:
            self.steps += 1
            if self.steps == self._at:
                self._then()
            await self.inner.change([op], done)


def refuse() -> None:
    raise Refused("told to fail")

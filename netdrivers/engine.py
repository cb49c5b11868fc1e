"""The engine: makes the kernel agree with what is desired, and says what it did."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final, NoReturn, Protocol

import trio

from netdrivers.contract.engine import NetworkDriver, Report
from netdrivers.contract.explain import Asked, Explanation
from netdrivers.contract.specs import Desired, HostRoute, IPAddress, PublishedPort, Scope
from netdrivers.encryption.keys import address_of
from netdrivers.errors import Conflict, Invalid, Missing, Refused
from netdrivers.explain.explainer import Explainer
from netdrivers.keep import Keep
from netdrivers.kernel.access import DEFAULT_AGENT
from netdrivers.kernel.announce import Announcer, find_claims, find_hails
from netdrivers.kernel.counters import read_counters
from netdrivers.kernel.linux import LinuxKernel
from netdrivers.kernel.parents import parent_error
from netdrivers.kernel.snapshot import Found, View
from netdrivers.kernel.uplink import read_uplink_mtu
from netdrivers.plan.diff import diff, without
from netdrivers.plan.objects import (
    Element,
    KernelObject,
    Key,
    Sandbox,
    Veth,
)
from netdrivers.plan.ops import Op
from netdrivers.plan.render import render_op
from netdrivers.publish import HostPorts
from netdrivers.registry import load_drivers
from netdrivers.wants import Wants

ROUNDS: Final = 3  # a change may uncover another: a pair made again has no addresses
UNDO_S: Final = 5.0  # measured undo of one endpoint: 2 ms; the rest is for a busy host
EVERYTHING: Final = "*"
MANY: Final = 2000  # objects that take some 10 ms to build or to compare


class Kernel(Protocol):
    """What the engine needs of a kernel; the tests have a second one."""

    async def open(self) -> list[Element]:
        """Get ready; the elements of ours that are there already."""
        ...

    async def read(self, view: View) -> Found:
        """Take a snapshot of the view."""
        ...

    async def change(self, ops: Sequence[Op], done: list[Op]) -> None:
        """Do the ops in order; each that is done is added to ``done``."""
        ...


@dataclass(slots=True)
class Turns:
    """One user at a time for each name; ``EVERYTHING`` excludes all."""

    _busy: set[str] = field(default_factory=set)
    _moved: trio.Condition = field(default_factory=trio.Condition)

    @asynccontextmanager
    async def hold(self, names: frozenset[str]) -> AsyncIterator[None]:
        """Wait until nobody holds any of ``names``, then hold all of them."""
        async with self._moved:
            while self._clashes(names):
                await self._moved.wait()
            self._busy |= names
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):  # the lock is held for no await of ours
                async with self._moved:
                    self._busy -= names
                    self._moved.notify_all()

    def _clashes(self, names: frozenset[str]) -> bool:
        if EVERYTHING in names:
            return bool(self._busy)
        return bool(self._busy & (names | {EVERYTHING}))


class Engine:
    """``NetworkEngine`` for one agent, bound to the namespace it is opened in."""

    def __init__(
        self,
        run: Path,
        *,
        agent_id: str = DEFAULT_AGENT,
        drivers: Mapping[str, NetworkDriver] | None = None,
        kernel: Kernel | None = None,
        keep: Keep | None = None,
    ) -> None:
        self._linux = LinuxKernel(run, agent_id)
        self._kernel: Kernel = kernel or self._linux
        self._wants = Wants(load_drivers() if drivers is None else drivers)
        self._turns = Turns()
        self._elements: dict[str, dict[Key, Element]] = {}  # by owner: an apply looks at few
        self._ports = HostPorts(self._home, keep)
        self._announcer = Announcer(lambda: self._linux.access)
        self._explainer = Explainer(self._linux.look)

    async def open(self) -> None:
        """Take the namespace of the calling thread and probe what is needed."""
        for element in await self._kernel.open():
            self._elements.setdefault(element.owner, {})[element.key] = element

    async def close(self) -> None:
        """Let sockets and host ports go; the kernel stays as it is."""
        self._ports.close()
        await self._linux.close()

    async def run(self) -> NoReturn:
        """Tell neighbours of new addresses until cancelled."""
        await self._announcer.run()

    async def make_sandbox(self, sandbox_id: str) -> Path:
        """Create and pin the namespace if it is not there; return its path."""
        if not sandbox_id or "/" in sandbox_id or sandbox_id in {".", ".."}:
            raise Invalid("not a sandbox id", sandbox=sandbox_id)
        async with self._turns.hold(frozenset({sandbox_id})):
            if self._linux.access.way(sandbox_id) is None:
                made = Op(verb="add", obj=Sandbox(id=sandbox_id))
                await self._do([made])
        return self._linux.access.pin(sandbox_id)

    async def apply(self, desired: Desired, scope: Scope | None, *, mend: bool = False) -> Report:
        """Snapshot, diff, apply, verify; taken back on error and cancellation, if not to mend."""
        want = await self._build(desired, scope)
        failed: dict[Op, str] | None = {} if mend else None
        async with self._turns.hold(_names(scope)):
            done: list[Op] = []
            try:
                notes = await self._rounds(want, scope, done, failed)
            except BaseException:  # Cancelled too: half an endpoint is worse than none
                if not mend:
                    with trio.move_on_after(UNDO_S, shield=True):
                        await self._undo(done)
                raise
        self._announcer.forget(want, scope.sandboxes if scope else None)
        added = [op.obj for op in done if op.verb == "add"]
        for batch in [*find_claims(added, want), find_hails(added, want)]:
            if batch:
                self._announcer.add(batch)
        doubled = self._announcer.notes() if scope is None else ()
        failed = failed or {}
        notes = (*notes, *dict.fromkeys(failed.values()))
        return Report(ops=tuple(done), conflicts=(*notes, *doubled), failed=failed)

    async def plan(self, desired: Desired, scope: Scope | None) -> Sequence[Op]:
        """What ``apply`` would do."""
        ops, _ = await self._steps(self._wants.build(desired, scope), scope)
        return ops

    async def explain(self, desired: Desired, asked: Asked) -> Explanation:
        """Say at which hop a packet dies, and why."""
        return await self._explainer.explain(desired, asked)

    def objects(self, desired: Desired, scope: Scope | None) -> Sequence[KernelObject]:
        """What should exist."""
        return tuple(self._wants.build(desired, scope).values())

    async def look(self, desired: Desired, *, fresh: bool) -> Report:
        """What an apply of everything would do, and what is in its way; keeps nobody waiting."""
        ops, notes = await self._steps(self._wants.build(desired, None), None, fresh=fresh)
        for op in ops:
            if op.verb == "delete" and isinstance(op.obj, Element):
                # so that an apply in scope sees it
                self._elements.setdefault(op.obj.owner, {})[op.obj.key] = op.obj
        return Report(ops=ops, conflicts=(*notes, *self._announcer.notes()))

    async def others(self) -> Mapping[str, int]:
        """Links and tables here that bear the mark of another agent, by its id."""
        return await self._linux.others()

    async def wait_change(self) -> None:
        """Return once something changed here or in a sandbox."""
        await self._linux.wait_change()

    async def hold_ports(self, ports: Iterable[PublishedPort]) -> None:
        """Bind the host ports, all or none."""
        await self._ports.hold(ports)

    def pick_port(self, protocol: str, host_ip: IPAddress) -> int:
        """Bind and hold a free port of the ephemeral range."""
        return self._ports.pick(protocol, host_ip)

    def release_ports(self, ports: Iterable[PublishedPort]) -> None:
        """Let the host ports go."""
        self._ports.release(ports)

    def is_bound(self, port: PublishedPort) -> bool:
        """Whether a socket of ours has the host port."""
        return self._ports.is_bound(port)

    async def host_routes(self) -> list[HostRoute]:
        """Routes of this namespace that are none of ours, default routes left out."""
        return await self._linux.host_routes()

    async def uplink_mtu(self) -> int:
        """MTU of the link of the default route; 0 where there is none."""
        return await self._linux.look(read_uplink_mtu)

    def sealed_address(self, key: str) -> IPv6Address:
        """Where a host with this public key is, behind the encryption."""
        return address_of(key)

    def counters(self, sandbox_id: str) -> Mapping[str, Mapping[str, int]]:
        """Per link in the sandbox ("" = here) but the loopback."""
        return read_counters(self._linux.access, sandbox_id)

    async def _build(self, desired: Desired, scope: Scope | None) -> dict[Key, KernelObject]:
        """What should exist; where that is much, the loop does not wait for it."""
        overlays = (net.overlay for net in desired.networks.values())
        remotes = sum(len(each.remotes) for each in overlays if each is not None)
        if scope is None or remotes < MANY:  # of everything most is remembered
            return self._wants.build(desired, scope)
        return await trio.to_thread.run_sync(self._wants.build, desired, scope)

    # --- the steps of an apply --------------------------------------------------------------

    async def _rounds(
        self,
        want: dict[Key, KernelObject],
        scope: Scope | None,
        done: list[Op],
        failed: dict[Op, str] | None,
    ) -> tuple[str, ...]:
        """The notes. What is ``failed`` is left out; None: nothing may fail."""
        for _ in range(ROUNDS):
            ops, notes = await self._steps(want, scope, mend=failed is not None)
            if failed is not None:
                ops = _without_failed(ops, failed)
            if not ops:
                return notes
            if failed is None:
                await self._change(ops, done)
            else:
                await self._mend(ops, done, failed)
        raise Refused("the kernel does not keep what was set", op=render_op(done[-1]))

    async def _steps(
        self,
        want: dict[Key, KernelObject],
        scope: Scope | None,
        *,
        fresh: bool = False,
        mend: bool = False,
    ) -> tuple[tuple[Op, ...], tuple[str, ...]]:
        view = self._view(want, scope)
        found = await self._kernel.read(replace(view, fresh=fresh, strays=mend))
        whole = scope is None or mend
        if found.foreign and not whole:
            raise Conflict("; ".join(found.foreign.values()))
        if found.lacking and not whole:
            name, why = min(found.lacking.items())
            raise parent_error(name, why, found.usable)
        # what one network lacks, or a stranger in its way, must not keep the others down
        lacking = sorted(found.lacking.items())
        notes = [str(parent_error(*each, found.usable)) for each in lacking]
        have, unfit = found.objects, _unfit(want, found)
        if unfit:
            kept = without(want, unfit)
            # a parent with another name now still bears what is left out
            left_out = want.keys() - kept.keys()
            gone = without(have, unfit)
            have, want = {key: obj for key, obj in gone.items() if key not in left_out}, kept
        notes += [*found.foreign.values(), *found.doubled]
        if scope is None or len(want) > MANY:  # 20 ms for 1,000 endpoints
            return await trio.to_thread.run_sync(diff, have, want), tuple(notes)
        return diff(have, want), tuple(notes)

    def _view(self, want: dict[Key, KernelObject], scope: Scope | None) -> View:
        if scope is None:
            return View(want=want)
        owners = scope.networks | scope.sandboxes
        return View(
            want=want,
            networks=scope.networks,
            sandboxes=scope.sandboxes,
            elements=tuple(
                item for owner in owners for item in self._elements.get(owner, {}).values()
            ),
        )

    async def _change(self, ops: Sequence[Op], done: list[Op]) -> None:
        before = len(done)
        try:
            await self._kernel.change(ops, done)
        finally:
            self._remember(done[before:])

    async def _mend(self, ops: Sequence[Op], done: list[Op], failed: dict[Op, str]) -> None:
        """All at once; if the kernel says no to one, the others one by one."""
        before = len(done)
        try:
            await self._change(ops, done)
        except (Refused, Missing):
            tried = set(done[before:])
            for op in [op for op in ops if op not in tried]:
                if not _without_failed([op], failed):
                    continue
                try:
                    await self._change([op], done)
                except (Refused, Missing) as exc:
                    failed[op] = str(exc)

    async def _do(self, ops: Sequence[Op]) -> None:
        done: list[Op] = []
        try:
            await self._change(ops, done)
        except BaseException:
            with trio.move_on_after(UNDO_S, shield=True):
                await self._undo([*done, *ops[len(done) :]])
            raise

    async def _undo(self, done: Sequence[Op]) -> None:
        """Take back in reverse order, each by itself: one failure must not keep the others."""
        for op in reversed(done):
            if op.undo is not None:
                await self._try(op.undo)

    async def _try(self, op: Op) -> None:
        try:
            await self._change([op], [])
        except (Refused, Missing):
            return  # the first error is the one to report; what stays bears our mark

    def _remember(self, ops: Iterable[Op]) -> None:
        for op in ops:
            for verb, each in (("delete", op.was), (op.verb, op.obj)):
                if not isinstance(each, Element):
                    continue
                own = self._elements.setdefault(each.owner, {})
                if verb == "delete":
                    own.pop(each.key, None)
                else:
                    own[each.key] = each
                if not own:
                    del self._elements[each.owner]

    @contextmanager
    def _home(self) -> Iterator[None]:
        spaces = self._linux.access.namespaces
        with spaces.inside(spaces.home):
            yield


def _without_failed(ops: Iterable[Op], failed: Mapping[Op, str]) -> tuple[Op, ...]:
    """Less what failed before and what hangs on it."""
    lost = {key for op in failed if op.verb != "delete" for key in (op.obj.key, *op.obj.provides)}
    return tuple(op for op in ops if op not in failed and not lost & {op.obj.key, op.obj.within})


def _unfit(want: Mapping[Key, KernelObject], found: Found) -> set[Key]:
    """What cannot be made: it needs a link that is not there, or whose place a stranger has."""
    missing: set[Key] = {("link", "", name) for name in found.lacking} | set(found.foreign)
    ports = (obj for obj in want.values() if isinstance(obj, Veth))
    return missing | {port.key for port in ports if ("link", "", port.bridge) in found.foreign}


def _names(scope: Scope | None) -> frozenset[str]:
    return frozenset({EVERYTHING}) if scope is None else scope.networks | scope.sandboxes

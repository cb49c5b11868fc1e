"""From specs to the kernel objects that should exist; what does not change is not built again."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from netdrivers.contract.engine import NetworkDriver
from netdrivers.contract.specs import Desired, EndpointSpec, SandboxSpec, Scope
from netdrivers.errors import Missing
from netdrivers.plan.diff import build_state
from netdrivers.plan.objects import DnsRedirect, KernelObject, Key, Sandbox, Sysctl

_Specs = tuple[object, ...]
_Objects = dict[Key, KernelObject]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Objects that come of the same specs."""

    id: str
    specs: _Specs
    make: Callable[[], Iterable[KernelObject]]


@dataclass(slots=True)
class Wants:
    """Asks the drivers, and remembers their answers of the last time all was asked for.

    Specs are values that nobody changes in place, so the same object is the same question.
    """

    drivers: Mapping[str, NetworkDriver]
    _known: dict[str, tuple[_Specs, _Objects]] = field(default_factory=dict)

    def build(self, desired: Desired, scope: Scope | None) -> _Objects:
        """The objects in scope, by key; of two with one key the first stays.

        Raises:
            Missing: an endpoint without its network or sandbox, a network without a driver.
        """
        if scope is not None:
            return build_state(
                obj for piece in self._pieces(desired, scope) for obj in piece.make()
            )
        known: dict[str, tuple[_Specs, _Objects]] = {}
        state: _Objects = {}
        for piece in self._pieces(desired, None):
            specs, objects = self._known.get(piece.id, ((), {}))
            if not _are_same(specs, piece.specs):
                objects = build_state(piece.make())
            known[piece.id] = (piece.specs, objects)
            for key, obj in objects.items():
                state.setdefault(key, obj)
        self._known = known
        return state

    def _pieces(self, desired: Desired, scope: Scope | None) -> Iterator[_Piece]:
        for net in desired.networks.values():
            if scope is None or net.id in scope.networks:
                driver = self._driver(net.driver)
                yield _Piece(f"network {net.id}", (net,), partial(driver.network, net))
        for ep in desired.endpoints.values():
            if scope is None or ep.sandbox_id in scope.sandboxes:
                yield self._endpoint(desired, ep)
        for box in desired.sandboxes.values():
            if scope is None or box.id in scope.sandboxes:
                yield _Piece(f"sandbox {box.id}", (box,), partial(_of_sandbox, box))

    def _endpoint(self, desired: Desired, ep: EndpointSpec) -> _Piece:
        net = desired.networks.get(ep.network_id)
        if net is None or ep.sandbox_id not in desired.sandboxes:
            raise Missing("an endpoint without its network or sandbox", endpoint=ep.id)
        make = partial(self._driver(net.driver).endpoint, net, ep)
        return _Piece(f"endpoint {ep.id}", (net, ep), make)

    def _driver(self, name: str) -> NetworkDriver:
        try:
            return self.drivers[name]
        except KeyError as exc:
            raise Missing("no such network driver", driver=name) from exc


def _are_same(before: _Specs, now: _Specs) -> bool:
    return len(before) == len(now) and all(a is b for a, b in zip(before, now, strict=True))


def _of_sandbox(spec: SandboxSpec) -> Iterator[KernelObject]:
    yield Sandbox(id=spec.id)
    if spec.dns_port:
        yield DnsRedirect(ns=spec.id, port=spec.dns_port)
    for name, value in spec.sysctls.items():
        yield Sysctl(ns=spec.id, name=name, value=" ".join(value.split()), owner=spec.id)

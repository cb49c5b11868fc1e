"""``network explain``: who is meant by FROM and TO, and the engine's answer as a view."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface

from netdrivers.contract.explain import Asked, Explanation
from netdrivers.contract.specs import IPAddress
from nodeagent.control.desired import build_desired, has_sandbox
from nodeagent.control.parts import Parts
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.errors import Invalid, Missing, Refused
from nodeagent.model.container import ContainerRecord
from nodeagent.model.explain import Explain, ExplainView, HopView

HOST = "host"
OUTSIDE = "outside"
SHARES = "container:"


class Explaining:
    """Use case ``network explain``."""

    def __init__(self, parts: Parts, sandboxes: Sandboxes) -> None:
        self._parts = parts
        self._sandboxes = sandboxes

    async def explain(self, request: Explain) -> ExplainView:
        """Answer one question. Nothing is changed.

        Raises:
            Missing: no such container. Refused: the source does not run. Invalid: no address.
        """
        asked = self._with_target(self._with_source(request), request)
        live = [each for each in self._containers if self._sandboxes.is_live(each.id)]
        desired = build_desired(self._parts.inventory.networks, live)
        return _view(await self._parts.engine.explain(desired, asked))

    @property
    def _containers(self) -> list[ContainerRecord]:
        return list(self._parts.inventory.containers.values())

    def _with_source(self, request: Explain) -> Asked:
        source, _, address = request.source.partition(":")
        asked = Asked(
            source="",
            source_name=request.source,
            target_name=request.target,
            titles={each.id: each.name for each in self._containers},
            protocol=request.protocol if request.port else "icmp",
            port=request.port,
            probe=request.probe,
        )
        if source == OUTSIDE:
            ip = _parse_address(_unbracketed(address), "source") if address else None
            return replace(asked, source=None, source_ip=ip)
        if request.source == HOST:
            return asked
        record = self._running(request.source)
        if record.network_mode.startswith(SHARES):
            record = self._running(record.network_mode.removeprefix(SHARES))
        return replace(asked, source=record.id if has_sandbox(record) else "")

    def _running(self, name: str) -> ContainerRecord:
        record = self._parts.inventory.container(name)
        if not self._sandboxes.is_live(record.id):
            raise Refused(
                "the container does not run, so it has no network; start it",
                field="source",
                name=record.name,
            )
        return record

    def _with_target(self, asked: Asked, request: Explain) -> Asked:
        try:
            return replace(asked, addresses=(ip_address(_unbracketed(request.target)),))
        except ValueError as exc:
            if {"[", "]"} & set(request.target):
                raise Invalid(
                    "brackets are for an IPv6 address; write for instance [fd00::2]",
                    field="target",
                    value=request.target,
                ) from exc  # else it is a name
        record = self._find(request.target)
        addresses = _addresses(record) if record is not None else ()
        if asked.source:
            reason = self._why_no_name(asked.source, record) if record is not None else ""
            return replace(
                asked,
                name=request.target,
                table=self._sandboxes.names,
                addresses=addresses,
                no_name=reason,
            )
        if record is None:
            raise Missing(
                "no such container; give a name or id of one, or an IP address",
                field="target",
                name=request.target,
            )
        if not addresses:
            raise Invalid(
                "the container has no address of its own", field="target", name=record.name
            )
        return replace(asked, addresses=addresses)

    def _find(self, name: str) -> ContainerRecord | None:
        try:
            return self._parts.inventory.container(name)
        except Missing:
            return None  # maybe an alias, or somebody else's name: the source's server knows

    def _why_no_name(self, source_id: str, target: ContainerRecord) -> str:
        """Why the table has no such name for the source, if it has none."""
        inventory = self._parts.inventory
        source = inventory.containers[source_id]
        if not self._sandboxes.is_live(target.id):
            return f"container {target.name} does not run"
        common = source.endpoints.keys() & target.endpoints.keys()
        if not common:
            theirs, ours = self._networks(target), self._networks(source)
            return f"no record: {target.name} is on {theirs} and {source.name} on {ours}"
        if all(inventory.networks[id_].predefined for id_ in common):
            return "no record: the predefined network gives no names; use one of your own"
        return f"no record of {target.name} in the networks of {source.name}"

    def _networks(self, record: ContainerRecord) -> str:
        known = self._parts.inventory.networks
        names = sorted(known[id_].name for id_ in record.endpoints if id_ in known)
        return f"network {', '.join(names)}" if names else "no network"


def _addresses(record: ContainerRecord) -> tuple[IPAddress, ...]:
    texts = (text for endpoint in record.endpoints.values() for text in endpoint.addresses)
    return tuple(ip_interface(text).ip for text in texts)


def _unbracketed(text: str) -> str:
    """An IPv6 address without its pair of brackets; anything else as it is."""
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def _parse_address(text: str, field: str) -> IPAddress:
    try:
        return ip_address(text)
    except ValueError as exc:
        raise Invalid(
            "not an IP address; write for instance outside:192.0.2.9", field=field, value=text
        ) from exc


def _view(found: Explanation) -> ExplainView:
    return ExplainView(
        reachable=found.reachable,
        summary=found.summary,
        hops=[
            HopView(
                place=hop.place,
                where=hop.where,
                what=hop.what,
                state=hop.state,
                why=hop.why,
                fix=hop.fix,
            )
            for hop in found.hops
        ],
        notes=list(found.notes),
    )

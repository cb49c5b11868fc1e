"""What ``rpc.describe`` answers."""

from msgspec import Struct


class MethodView(Struct, frozen=True, kw_only=True):
    """One method with its JSON Schemas. ``role``: the least that may call it by TCP."""

    name: str
    doc: str
    params: dict[str, object]
    result: dict[str, object]
    stream: dict[str, object] | None
    takes_input: bool
    changes: bool
    role: str


class Description(Struct, frozen=True, kw_only=True):
    """All of them."""

    protocol: str
    version: str
    methods: list[MethodView]

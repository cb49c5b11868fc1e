"""What the tables of methods are made of: the shapes that several nouns share."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta, Struct

from nodeagent.model.containerrequest import Name, Text, Words

Filters = Annotated[dict[Name, Words], Meta(max_length=64)]  # {"label": ["a=b"], "status": […]}


class Params(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of a call; every field is typed, an unknown one is an error."""


class Nothing(Params, frozen=True):
    """No parameters."""


class Windowed(Params, frozen=True):
    """Of a stream; ``window``: items that may be on the way unread, 0 = no bound."""

    window: Annotated[int, Meta(ge=0)] = 0


class Ref(Params, frozen=True):
    """One object by name, id or unique id prefix."""

    name: Text


class Refs(Params, frozen=True):
    """Several objects."""

    names: Words


class Id(Struct, frozen=True, kw_only=True):
    """What a create answers."""

    id: str
    name: str
    warnings: list[str] = []


class Done(Struct, frozen=True, kw_only=True):
    """The change is made."""


class DataItem(Struct, frozen=True, kw_only=True):
    """A piece of a stream of bytes."""

    data: bytes


class ListParams(Params, frozen=True):
    all: bool = False
    filters: Filters = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One line of the table. ``changes`` calls are what an audit log and roles care about."""

    name: str
    doc: str
    params: type
    result: object  # a type msgspec can encode and describe
    stream: type | None = None
    takes_input: bool = False
    changes: bool = True


def read(name: str, doc: str, params: type, result: object, stream: type | None = None) -> Method:
    """Give a method that changes nothing."""
    return Method(name=name, doc=doc, params=params, result=result, stream=stream, changes=False)


def change(name: str, doc: str, params: type, result: object) -> Method:
    """Give a method that changes what is there."""
    return Method(name=name, doc=doc, params=params, result=result)

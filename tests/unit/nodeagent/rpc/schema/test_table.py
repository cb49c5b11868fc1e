"""The table of methods: names, and types that msgspec can decode, encode and describe.

Covers nodeagent/rpc/schema/shapes.py.
"""

import re

import msgspec
import pytest

from nodeagent.rpc.schema.table import METHODS


@pytest.mark.parametrize("name", METHODS)
def test_names_are_noun_and_verb(name):
    assert re.fullmatch(r"[a-z]+\.[a-z]+", name)


@pytest.mark.parametrize("name", METHODS)
def test_params_are_strict(name):
    params = METHODS[name].params
    assert params.__struct_config__.forbid_unknown_fields
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"no_such_field": 1}, params)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.stream])
def test_streams_can_be_held_back(name):
    assert "window" in METHODS[name].params.__struct_fields__

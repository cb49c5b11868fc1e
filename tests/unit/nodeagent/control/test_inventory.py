"""Records: durable before they are seen, found by name, id and prefix."""

import msgspec
import pytest

from nodeagent.control.inventory import Inventory
from nodeagent.errors import Conflict, Invalid, Missing
from nodeagent.state.sqlite import open_store
from tests.fakes.records import container, network


async def test_what_was_put_is_there_after_a_restart(tmp_path):
    async with open_store(tmp_path / "state.db") as store:
        inventory = Inventory(store)
        await inventory.put(container(), network())
        await inventory.put(msgspec.structs.replace(container(), phase="running"))
        await inventory.delete(network())
    async with open_store(tmp_path / "state.db") as store:
        again = Inventory(store)
        await again.load()
        assert again.containers["a" * 64].phase == "running"
        assert not again.networks


@pytest.fixture
async def inventory(tmp_path):
    async with open_store(tmp_path / "state.db") as store:
        found = Inventory(store)
        await found.put(
            container("ab" + "0" * 62, name="one"), container("ac" + "0" * 62, name="two")
        )
        yield found


async def test_find(inventory):
    assert inventory.container("one").name == "one"
    assert inventory.container("/two").name == "two"
    assert inventory.container("ab").name == "one"
    with pytest.raises(Invalid, match="more than one"):
        inventory.container("a")
    with pytest.raises(Missing, match="no such container"):
        inventory.container("three")
    with pytest.raises(Missing, match="no such container"):
        inventory.container("")


async def test_a_name_is_held_while_its_object_is_made(inventory):
    with inventory.reserve("container", "three"):
        with pytest.raises(Conflict, match="field=name"), inventory.reserve("container", "three"):
            pass
        with inventory.reserve("network", "three"):
            pass
    with inventory.reserve("container", "three"):
        pass
    with pytest.raises(Conflict), inventory.reserve("container", "one"):
        pass

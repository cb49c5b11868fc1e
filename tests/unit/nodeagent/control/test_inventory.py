"""Records: durable before they are seen, found by name, id and prefix."""

import msgspec
import pytest
import trio
import trio.testing

from nodeagent.control.inventory import Inventory
from nodeagent.errors import Conflict, Invalid, Missing
from nodeagent.model.container import MountRecord
from nodeagent.state.sqlite import open_store
from tests.fakes.records import container, endpoint, network, volume


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


class SlowStore:
    """A commit takes until the door opens; a cancelled caller does not undo it."""

    def __init__(self):
        self.door = trio.Event()
        self.ops = []

    async def commit(self, *ops):
        self.ops += ops
        await self.door.wait()


async def test_what_is_durable_is_seen_though_the_caller_went_away(autojump_clock):
    inventory = Inventory(SlowStore())
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(_open_later, inventory._store.door)
            scope.cancel()
            with pytest.raises(trio.Cancelled):
                await inventory.put(container())
            assert not inventory._store.ops, "a caller that was gone before wants nothing"
        with trio.move_on_after(1):
            await inventory.put(container())
    assert "a" * 64 in inventory.containers


async def _open_later(door):
    await trio.sleep(5)
    door.set()


async def test_use_counts_from_the_moment_it_is_decided(autojump_clock):
    inventory = Inventory(SlowStore())
    inventory.networks["n" * 64] = network()
    inventory.volumes["data"] = volume()
    mounts = [MountRecord(type="volume", source="", target="/x", name="data")]
    user = container(mounts=mounts, endpoints={"n" * 64: endpoint()})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inventory.put, user)
        await trio.testing.wait_all_tasks_blocked()
        assert not inventory.containers
        assert inventory.volume_users("data") == ["web"]
        assert inventory.image_users(user.image_id) == ["web"]
        assert inventory.members("n" * 64) == [user]
        leaving = msgspec.structs.replace(volume(), phase="removing")
        nursery.start_soon(inventory.put, leaving)
        await trio.testing.wait_all_tasks_blocked()
        assert inventory.is_leaving(inventory.volumes["data"])
        assert not inventory.is_leaving(inventory.networks["n" * 64])
        inventory._store.door.set()
    assert not inventory._coming

"""A certificate is renewed in time, and only for what it was: real ones, in a real place."""

import time

import pytest
import trio

from nodeagent.cluster import ca
from nodeagent.cluster.place import ClusterPlace
from nodeagent.control import renewal
from nodeagent.control.renewal import Renewal
from nodeagent.errors import Refused, Unavailable

DAY_S = 86400
BEARER = ca.Bearer(name="worker-1", role="worker", hosts=("192.0.2.1",))


class World:
    def __init__(self, folder) -> None:
        self.now = time.time()
        self.authority = ca.create_ca("c1", now=self.now)
        self.place = ClusterPlace(folder / "cluster")
        pair = ca.issue(self.authority, BEARER, now=self.now)
        self.place.write_identity(self.authority.certificate, pair)
        self.asked: list[bytes] = []
        self.error: Exception | None = None
        self.renewal = Renewal(self.place, self.sign, lambda: self.now)

    async def sign(self, request):
        self.asked.append(request)
        if self.error:
            raise self.error
        return ca.sign_request(self.authority, request, BEARER, now=self.now)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(renewal, "LOOK_S", 0.01)
    monkeypatch.setattr(renewal, "AGAIN_S", 0.01)


async def until(holds):
    with trio.fail_after(10):
        while not holds():  # noqa: ASYNC110  a thread changes it
            await trio.sleep(0.001)


def is_due(world):
    return ca.is_due(world.place.certificate(), now=world.now)


async def test_it_is_renewed_when_it_is_due_and_not_before(world, short, nursery):
    before, key = world.place.certificate(), world.place.key()
    nursery.start_soon(world.renewal.run)
    await trio.sleep(0.1)
    assert world.asked == []
    world.now += 61 * DAY_S
    await until(lambda: not is_due(world))
    await trio.sleep(0.1)
    assert len(world.asked) == 1
    assert world.place.certificate() != before
    assert world.place.key() == key
    world.place.server_context()  # they belong together
    assert {each.name for each in world.place.folder.iterdir()} == {
        "ca.crt", "node.crt", "node.key"
    }  # fmt: skip


async def test_a_failure_is_told_and_tried_again(world, short, nursery, caplog):
    world.now += 61 * DAY_S
    world.error = Unavailable("no manager is up")
    nursery.start_soon(world.renewal.run)
    await until(lambda: len(world.asked) >= 3)
    assert is_due(world)
    world.error = None
    await until(lambda: not is_due(world))
    assert caplog.text.count("not renewed yet") == len(world.asked) - 1


@pytest.mark.parametrize("wrong", ["authority", "name", "role", "key"])
async def test_an_answer_that_is_not_ours_is_refused_and_the_old_one_stays(world, wrong):
    before = world.place.certificate()
    other = ca.create_ca("c1", now=world.now)
    stranger, _ = ca.create_request("x")
    admin = ca.Bearer(name="worker-1", role="manager", hosts=BEARER.hosts)
    named = ca.Bearer(name="worker-2", role="worker", hosts=BEARER.hosts)

    async def sign(request):
        return ca.sign_request(
            other if wrong == "authority" else world.authority,
            stranger if wrong == "key" else request,
            {"name": named, "role": admin}.get(wrong, BEARER),
            now=world.now,
        )

    with pytest.raises(Refused):
        await Renewal(world.place, sign, lambda: world.now).renew()
    assert world.place.certificate() == before
    assert not (world.place.folder / "node.crt.try").exists()

"""Ways into sandboxes: opened once, closed when the pin is another."""

import os

import pytest

from netdrivers.kernel.access import Access


@pytest.fixture
def access(host, run_dir):
    (run_dir / "netns").mkdir()
    made = Access(run_dir, agent_id="test")
    yield made
    made.close()


def test_a_way_is_kept_until_the_pin_changes(access):
    assert access.way("a") is None
    access.namespaces.create(access.pin("a"))
    first = access.way("a")
    assert access.way("a") is first
    access.namespaces.remove(access.pin("a"))
    access.namespaces.create(access.pin("a"))
    second = access.way("a")
    assert second is not first
    assert second is not None
    assert access.sandboxes() == ["a"]
    access.namespaces.remove(access.pin("a"))
    assert access.way("a") is None


def test_no_descriptor_is_left(access):
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    before = count()
    access.namespaces.create(access.pin("a"))
    for _ in range(3):
        assert access.way("a").filter
    access.forget("a")
    assert count() == before


def test_marks(access, run_dir):
    assert access.object_id(access.alias("x")) == "x"
    for alias in ("", "x", "nodeagent:other:x"):
        assert access.object_id(alias) == ""
    assert access.table == "nodeagent-test"
    default = Access(run_dir, agent_id="default")
    assert default.table == "nodeagent"
    default.close()

"""Removals that go together, and what becomes of them when somebody gives up."""

import pytest
import trio

from netdrivers.errors import Refused, Unavailable
from netdrivers.kernel.linux import LinuxKernel
from netdrivers.plan.objects import Bridge
from netdrivers.plan.ops import Op


@pytest.fixture
async def kernel(host, run_dir):
    made = LinuxKernel(run_dir, "test")
    await made.open()
    yield made
    await made.close()


def bridges(count: int) -> list[Bridge]:
    mac = "02:00:00:00:00:01"
    return [Bridge(name=f"br{n}", owner="o", mac=mac) for n in range(count)]


async def test_many_who_remove_at_once_wait_for_few_removals(host, kernel):
    wanted = bridges(20)
    await kernel.change([Op(verb="add", obj=each) for each in wanted], [])
    start = trio.current_time()
    done: list[Op] = []
    async with trio.open_nursery() as nursery:
        for each in wanted:
            nursery.start_soon(kernel.change, [Op(verb="delete", obj=each)], done)
    assert len(done) == 20
    assert "br1" not in host.sh("ip link")
    assert trio.current_time() - start < 0.5  # one after the other: 20 times 20 ms and more


async def test_who_gives_up_in_line_removes_nothing_later(host, kernel):
    first, second, third = bridges(3)
    await kernel.change([Op(verb="add", obj=each) for each in (first, second, third)], [])
    async with trio.open_nursery() as nursery:
        held = trio.Event()

        async def hold():
            async with kernel._removing:
                held.set()
                await trio.sleep(0.1)

        nursery.start_soon(hold)
        await held.wait()
        with trio.move_on_after(0.01):
            await kernel.change([Op(verb="delete", obj=first)], [])
    await kernel.change([Op(verb="delete", obj=second)], [])
    links = host.sh("ip -br link")
    assert "br0" in links
    assert "br1" not in links
    assert "br2" in links


async def test_links_that_are_not_there_are_not_missed(host, kernel):
    (one,) = bridges(1)
    host.sh("ip link add vex type veth peer name vey")
    await kernel.change([Op(verb="add", obj=one)], [])
    await kernel._remove([("", "vex"), ("", "never-there")])
    links = host.sh("ip -br link")
    assert "vex" not in links
    assert "br0" in links


async def test_a_removal_that_is_refused_says_so(host, kernel, monkeypatch):
    def refuse(_netlink, names):
        raise Refused("remove links", links=names)

    monkeypatch.setattr("netdrivers.kernel.linux.remove_links", refuse)
    with pytest.raises(Refused, match="remove links"):
        await kernel.change([Op(verb="delete", obj=bridges(1)[0])], [])


async def test_closed_is_unavailable(tmp_path):
    with pytest.raises(Unavailable):
        LinuxKernel(tmp_path, "test").access  # noqa: B018

"""Parents of macvlans that are not there, go, come back, have another name or bear none."""

import pytest

from netdrivers.errors import Missing, Refused

LINKS = "ip -br link | sed 's/ .*//' | sort"


async def test_a_missing_parent_names_the_option(host, engine, world, scoped):
    net = world.macvlan("e", "198.51.100.0/24", parent="up7")
    with pytest.raises(Missing, match="parent") as caught:
        await engine.apply(world.desired, scoped(networks=(net,)))
    assert caught.value.fields == {"option": "parent", "parent": "up7", "there_is": "up0"}
    world.container("a", net, 20)
    with pytest.raises(Missing, match="up7"):
        await engine.apply(world.desired, scoped("a"))


async def test_a_parent_that_goes_does_not_take_the_others_along_and_may_come_back(
    wired, host, engine, world
):
    pins = await wired(host=250)
    host.sh("ip link del up0")
    report = await engine.apply(world.desired, None)
    assert ["up0" in note for note in report.conflicts] == [True]
    with host.listen(pins["c"], 80):
        assert host.connect(host.home, "10.2.0.2", 80)
    host.sh("ip link add up0 type veth peer name up9; ip link set up9 up; ip link set up0 up")
    assert (await engine.apply(world.desired, None)).ops
    report = await engine.apply(world.desired, None)
    assert (report.ops, report.conflicts) == ((), ())
    with host.listen(pins["b"], 80):
        assert host.connect(pins["a"], "198.51.100.30", 80)


UNFIT = {
    "port of a bridge": ("ip link add sw type bridge; ip link set up0 master sw", "up0", "bridge"),
    "macvlan": ("ip link add mv9 link up0 type macvlan mode bridge", "mv9", "the link below"),
    "tun": ("ip tuntap add dev tun9 mode tun", "tun9", "no Ethernet"),
}


@pytest.mark.parametrize("unfit", UNFIT)
async def test_a_parent_that_bears_none_is_refused_before_there_is_a_container(
    host, engine, world, scoped, unfit
):
    script, name, says = UNFIT[unfit]
    host.sh(script)
    net = world.macvlan("e", "198.51.100.0/24", parent=name)
    world.network("b", "10.2.0.0/24")
    before = host.sh(LINKS)
    with pytest.raises(Refused, match=says) as caught:
        await engine.apply(world.desired, scoped(networks=(net,)))
    assert caught.value.fields["parent"] == name
    assert host.sh(LINKS) == before
    assert ["up0" in note or says in note for note in
            (await engine.apply(world.desired, None)).conflicts] == [True]  # fmt: skip


async def test_a_parent_with_another_name_bears_its_containers_on(wired, host, engine, world):
    pins = await wired(host=250)
    host.sh("ip link set up0 down; ip link set up0 name wan0; ip link set wan0 up")
    report = await engine.apply(world.desired, None)
    assert report.ops == ()
    assert ["parent=up0 there_is=wan0" in note for note in report.conflicts] == [True]
    host.sh("ip addr replace 198.51.100.1/24 dev wan0")
    with host.listen(pins["a"], 80):
        assert host.reaches(host.outside, "198.51.100.20", 80)
    host.sh("ip link set wan0 down; ip link set wan0 name up0; ip link set up0 up")
    assert (await engine.apply(world.desired, None)).conflicts == ()
    with host.listen(pins["a"], 80):
        assert host.reaches(host.outside, "198.51.100.20", 80)

"""Any state becomes any other, in an order the kernel takes, and then there is nothing to do."""

from hypothesis import given, settings
from hypothesis import strategies as st

from netdrivers.plan.diff import build_state, diff
from netdrivers.registry import load_drivers
from netdrivers.wants import Wants
from tests.fakes.kernel import FakeKernel
from tests.fakes.world import World


@st.composite
def worlds(draw) -> World:
    world = World()
    for letter in draw(st.sets(st.sampled_from("abc"))):
        subnets = draw(st.sampled_from([("10.1.0.0/24",), ("10.1.0.0/24", "fd00::/64")]))
        mtu = draw(st.sampled_from([1400, 1500]))
        world.network(letter, *subnets, internal=draw(st.booleans()), mtu_bytes=mtu)
    if draw(st.booleans()):
        parent = draw(st.sampled_from(["up0", "up0.30"]))
        world.macvlan("e", "10.9.0.0/24", host=draw(st.sampled_from([0, 250])), parent=parent)
    nets = list(world.networks.values())
    for number in draw(st.sets(st.integers(2, 5))) if nets else ():
        net = draw(st.sampled_from(nets))
        port = f"tcp:0.0.0.0:{draw(st.integers(1, 3))}:{draw(st.integers(80, 81))}"
        ports = [port] if net.driver == "bridge" and draw(st.booleans()) else []
        dns_port = draw(st.sampled_from([0, 53, 54]))
        world.container(f"s{number}", net, number, *ports, dns_port=dns_port)
    return world


def objects(world: World):
    return Wants(load_drivers()).build(world.desired, None)


@settings(max_examples=60, deadline=None)
@given(worlds(), worlds())
async def test_every_plan_is_one_a_kernel_accepts_and_reaches_the_goal(before, after):
    kernel = FakeKernel()
    for goal in (objects(before), objects(after)):
        await kernel.change(diff(kernel.objects, goal), [])
        missing = diff(kernel.objects, goal)  # what went with a bridge that was made again
        await kernel.change(missing, [])
        assert kernel.objects == goal
        assert diff(kernel.objects, goal) == ()


@given(worlds())
def test_the_order_of_the_input_does_not_matter(world):
    goal = objects(world)
    backwards = dict(reversed(goal.items()))
    assert diff({}, goal) == diff({}, backwards)
    assert diff(goal, {}) == diff(backwards, {})


@given(worlds())
def test_a_plan_adds_by_rank_and_deletes_backwards(world):
    goal = objects(world)
    ranks = [op.obj.rank for op in diff({}, goal)]
    assert ranks == sorted(ranks)
    gone = diff(goal, {})
    assert [op.obj.rank for op in gone] == sorted((op.obj.rank for op in gone), reverse=True)
    # the host end goes by hand, what is inside goes with its namespace
    ends = {key for obj in goal.values() for key in obj.provides}
    assert {obj.key for obj in goal.values() if obj.within not in ends} == {
        op.obj.key for op in gone
    }


def test_of_two_objects_with_one_key_the_first_stays():
    world = World()
    world.container("a", world.network("a", "10.1.0.0/24"), 2)
    found = list(objects(world).values())
    assert build_state(found + found[::-1]) == objects(world)

"""Only what a change touches is built again, and it is what building all would give."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.control.directory import Directory
from tests.fakes.records import container, endpoint, network

NETS = [letter * 64 for letter in "lmn"]
NETWORKS = {id_: network(id_, name=f"net{id_[0]}") for id_ in NETS}


def member(letter, *where, **fields):
    places = {id_: endpoint(id_, f"10.0.{NETS.index(id_)}.{ord(letter)}/24") for id_ in where}
    return container(letter * 64, name=letter, endpoints=places, network_mode="x", **fields)


def records(*members):
    return {each.id: each for each in members}


def update(directory, found, unready=(), upstreams=(), asleep=()):
    return directory.update(NETWORKS, found, found.keys() - set(asleep), unready, upstreams)


def test_what_did_not_change_is_the_same_object():
    directory = Directory()
    one, two = member("a", NETS[0]), member("b", NETS[1], NETS[2])
    before = update(directory, records(one, two), (), ())
    moved = msgspec.structs.replace(one, name="other")
    after = update(directory, records(moved, two), (), ())
    assert "other" in after.zones[NETS[0]].names
    assert "a" not in after.zones[NETS[0]].names
    for id_ in NETS[1:]:
        assert after.zones[id_] is before.zones[id_]
    assert after.views[two.id] is before.views[two.id]
    assert after.views[one.id] is before.views[one.id], "its view is equal"


def test_a_record_that_changes_in_what_names_do_not_see_builds_nothing_new():
    directory = Directory()
    before = update(directory, records(member("a", NETS[0])), (), ())
    after = update(directory, records(member("a", NETS[0], phase="running")), (), ())
    assert after.zones[NETS[0]] is before.zones[NETS[0]]


def test_readiness_touches_its_networks_only():
    directory = Directory()
    one, two = member("a", NETS[0]), member("b", NETS[1])
    before = update(directory, records(one, two), (), ())
    after = update(directory, records(one, two), {one.id}, ())
    assert not after.zones[NETS[0]].names["a"][0].is_ready
    assert after.zones[NETS[1]] is before.zones[NETS[1]]


def test_who_does_not_run_is_known_and_asks_nothing():
    directory = Directory()
    one, two = member("a", NETS[0]), member("b", NETS[1])
    before = update(directory, records(one, two))
    after = update(directory, records(one, two), asleep=[one.id])
    (host,) = after.zones[NETS[0]].names["a"]
    assert (host.is_up, host.is_ready, host.addresses) == (False, False, ())
    assert after.zones[NETS[0]].reverse == {}
    assert after.views.keys() == {two.id}
    assert after.zones[NETS[1]] is before.zones[NETS[1]]
    assert "a" not in update(directory, records(two)).zones[NETS[0]].names


def test_new_upstreams_reach_every_view():
    directory = Directory()
    update(directory, records(member("a", NETS[0])), (), ("9.9.9.9",))
    table = update(directory, records(member("a", NETS[0])), (), ("1.1.1.1",))
    assert table.views["a" * 64].upstreams == ("1.1.1.1",)


MEMBERS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sets(st.sampled_from(NETS)), st.booleans()),
    unique_by=lambda each: each[0],
)
STEPS = st.lists(
    st.tuples(
        MEMBERS,
        st.sets(st.sampled_from(NETS)),
        st.booleans(),
        st.sets(st.sampled_from("abcdef")),
    ),
    max_size=5,
)


@given(STEPS)
def test_any_way_leads_to_what_building_all_gives(steps):
    directory = Directory()
    for members, gone, internal, asleep in steps:
        networks = {
            id_: msgspec.structs.replace(each, internal=internal)
            for id_, each in NETWORKS.items()
            if id_ not in gone
        }
        found = records(*(member(letter, *sorted(where)) for letter, where, _ in members))
        unready = {letter * 64 for letter, _, ready in members if not ready}
        down = {letter * 64 for letter in asleep}
        shown = found.keys() - down
        table = directory.update(networks, found, shown, unready, ("9.9.9.9",))
        anew = Directory().update(networks, found, shown, unready, ("9.9.9.9",))
        assert table.views == anew.views
        assert {id_: rows(zone) for id_, zone in table.zones.items()} == {
            id_: rows(zone) for id_, zone in anew.zones.items()
        }


def rows(zone):
    """A zone, without the order of those who share a name: that is of their coming."""
    names = {name: sorted(hosts, key=lambda each: each.name) for name, hosts in zone.names.items()}
    return zone.name, names, zone.reverse

"""What is remembered of records is what they mean now."""

import msgspec

from nodeagent.control.desired import build_desired
from nodeagent.control.wanted import Wanted
from tests.fakes.records import container, endpoint, network

NET = "n" * 64


def test_it_is_what_is_desired_after_any_change():
    wanted, net = Wanted(), network()
    web = container("a" * 64, network_mode=NET, endpoints={NET: endpoint()})
    host = container("b" * 64, network_mode="host")
    internal = msgspec.structs.replace(net, internal=True)
    with_names = msgspec.structs.replace(web, dns_port=5300)
    for networks, live in (
        ({NET: net}, [web, host]),
        ({NET: net}, [web]),
        ({NET: internal}, [web]),
        ({NET: internal}, [with_names]),
        ({NET: net}, [with_names, host]),
        ({}, [web]),
        ({NET: network(phase="removing")}, []),
    ):
        assert wanted.build(networks, live) == build_desired(networks, live)


def test_what_did_not_change_is_the_same_object():
    wanted, networks = Wanted(), {NET: network()}
    web = container("a" * 64, network_mode=NET, endpoints={NET: endpoint()})
    first = wanted.build(networks, [web])
    second = wanted.build(networks, [web, container("b" * 64)])
    for kind in ("networks", "sandboxes", "endpoints"):
        before, after = getattr(first, kind), getattr(second, kind)
        assert all(after[key] is each for key, each in before.items())


def test_what_is_gone_is_forgotten():
    wanted = Wanted()
    web = container("a" * 64, network_mode=NET, endpoints={NET: endpoint()})
    wanted.build({NET: network()}, [web])
    wanted.build({}, [])
    assert wanted._known == {}

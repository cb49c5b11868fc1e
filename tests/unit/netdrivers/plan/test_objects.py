"""Keys and parents: what goes with what."""

from ipaddress import ip_interface, ip_network

from netdrivers.plan.objects import (
    Address,
    DnsRedirect,
    Element,
    Forwarding,
    Route,
    Sandbox,
    Sysctl,
    Table,
    Veth,
)

VETH = Veth(
    name="ve1", owner="s", endpoint="e", bridge="br", interface="eth0", mac="02:00:00:00:00:01"
)


def test_what_is_on_a_link_goes_with_it():
    address = Address(ns="s", link="eth0", ip=ip_interface("10.0.0.2/24"), owner="s")
    route = Route(ns="s", to=ip_network("0.0.0.0/0"), via=None, link="eth0", owner="s")
    sysctl = Sysctl(ns="s", name="net.ipv4.conf.eth0.x", value="1", owner="s", link="eth0")
    for obj in (address, route, sysctl):
        assert obj.within in VETH.provides
        assert obj.within not in Sandbox(id="s").provides


def test_what_is_in_a_sandbox_goes_with_it_but_the_host_end_does_not():
    for obj in (DnsRedirect(ns="s", port=1), Sysctl(ns="s", name="net.x", value="1", owner="s")):
        assert obj.within in Sandbox(id="s").provides
    assert VETH.within is None


def test_elements_go_with_the_table():
    assert Element(set="nat", match=("br",), owner="n").within in Table().provides
    assert Forwarding(family="ipv4").key != Forwarding(family="ipv6").key

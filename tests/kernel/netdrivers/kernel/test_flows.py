"""Flows of a published port end with it, and no others."""

from dataclasses import replace

PUBLISHED = 8080


def flows(host, port: int) -> list[str]:
    with host.inside(host.home):
        lines = host.sh("cat /proc/thread-self/net/nf_conntrack").splitlines()
    return [line for line in lines if f"dport={port} " in line]


async def test_the_flows_of_a_container_end_with_it(host, engine, two, world, scoped):
    with (
        host.listen(two["b"], 80, kind="udp") as server,
        host.listen(two["b"], 80) as web,
        host.listen(two["c"], 9, "10.2.0.2", kind="udp") as other,
    ):
        assert host.datagram(host.outside, "198.51.100.1", PUBLISHED, server)
        assert host.reaches(host.outside, "198.51.100.1", PUBLISHED)
        web.accept()[0].close()
        assert host.datagram(host.home, "10.2.0.2", 9, other)
        assert {line.split()[2] for line in flows(host, PUBLISHED)} == {"tcp", "udp"}
        world.remove("b")
        await engine.apply(world.desired, scoped("b"))
        assert flows(host, PUBLISHED) == []
        assert flows(host, 9), "somebody else's flow"


async def test_a_port_that_leads_elsewhere_takes_its_flows_along(host, engine, two, world, scoped):
    """The other port of the container keeps its own."""
    with host.listen(two["b"], 80, kind="udp") as server:
        assert host.datagram(host.outside, "198.51.100.1", PUBLISHED, server)
        (ep,) = [each for each in world.endpoints.values() if each.sandbox_id == "b"]
        kept = tuple(port for port in ep.ports if port.protocol != "tcp")
        world.endpoints[ep.id] = replace(ep, ports=kept)
        await engine.apply(world.desired, scoped("b"))
        assert flows(host, PUBLISHED), "the port of udp is published as before"
        world.endpoints[ep.id] = replace(ep, ports=())
        await engine.apply(world.desired, scoped("b"))
        assert flows(host, PUBLISHED) == []

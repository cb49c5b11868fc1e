"""``network inspect`` on a real kernel: what it says is what ip and nft say."""

import time

import pytest

from tests.system.harness.agent import Agent

SERVE = ("busybox", "httpd", "-f", "-p", "80")


@pytest.fixture(scope="module")
def served(shared_agent: Agent) -> Agent:
    shared_agent.cli("network", "create", "--subnet", "10.77.0.0/24", "demo")
    shared_agent.cli("network", "create", "--subnet", "10.78.0.0/24", "--internal", "other")
    options = ("--network", "demo", "--network-alias", "www", "-p", "127.0.0.1:8080:80")
    shared_agent.cli("run", "-d", "--name", "web", *options, *SERVE)
    shared_agent.cli("network", "connect", "other", "web")
    return shared_agent


def test_endpoints_names_ports_and_counters(served: Agent) -> None:
    (member,) = served.inspect("network", "demo")["Containers"].values()
    assert member["Name"] == "web"
    assert member["Ready"] is True
    assert member["Ports"] == ["127.0.0.1:8080->80/tcp"]
    assert {"web", "www"} <= set(member["Names"])
    before = member["Counters"]["rx_packets"]
    served.space.run("busybox", "ping", "-c3", "-A", member["IPv4Address"].partition("/")[0])
    (member,) = served.inspect("network", "demo")["Containers"].values()
    assert member["Counters"]["rx_packets"] >= before + 3
    (elsewhere,) = served.inspect("network", "other")["Containers"].values()
    assert elsewhere["Ports"] == []


def test_dns_records(served: Agent) -> None:
    view = served.inspect("network", "demo")
    found = {row["Name"]: (row["Addresses"], row["Ready"]) for row in view["DNSRecords"]}
    assert found["www"] == found["web"] == (["10.77.0.2"], True)


def test_every_kernel_object_is_of_this_network_and_present(served: Agent) -> None:
    served.cli("exec", "web", "ping", "-c1", "10.77.0.1")
    view = served.inspect("network", "demo")
    texts = [each["Object"] for each in view["KernelObjects"]]
    assert {each["State"] for each in view["KernelObjects"]} == {"present"}
    assert any(f"link br-{view['Id'][:12]} type bridge" in text for text in texts)
    assert any("127.0.0.1 . tcp . 8080" in text for text in texts)
    assert not any("10.78.0." in text for text in texts)
    assert view["Problem"] == ""
    bridge = next(each for each in view["KernelObjects"] if "type bridge" in each["Object"])
    assert bridge["Counters"]["rx_packets"] > 0


def test_damage_is_seen_before_it_is_mended(served: Agent) -> None:
    """The kernel is asked at each inspect: one of them falls between the damage and its repair."""
    bridge = f"br-{served.inspect('network', 'demo')['Id'][:12]}"
    for _ in range(20):
        served.space.run("ip", "link", "set", bridge, "mtu", "1400")
        states = {
            each["Object"]: each["State"]
            for each in served.inspect("network", "demo")["KernelObjects"]
        }
        if "different" in states.values():
            break
    changed = [text for text, state in states.items() if state == "different"]
    assert [text for text in changed if bridge in text]
    wait_whole(served)  # the others find it as it was


def wait_whole(served: Agent) -> None:
    """Wait for the repair of what a test damaged."""
    deadline = time.monotonic() + 10
    while True:
        objects = served.inspect("network", "demo")["KernelObjects"]
        if {each["State"] for each in objects} == {"present"}:
            return
        assert time.monotonic() < deadline, objects
        time.sleep(0.1)


def test_it_costs_the_kernel_nothing(served: Agent) -> None:
    before = served.snapshot()
    served.inspect("network", "demo")
    served.expect(before)

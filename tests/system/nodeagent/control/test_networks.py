"""Networks as a user makes and removes them."""

import time
from collections.abc import Callable

import pytest

from tests.system.harness.agent import Agent

PREDEFINED = ["bridge", "host", "none"]
SLEEP = ("busybox", "sleep", "1000")


def test_create_inspect_remove_leaves_the_kernel_as_it_was(agent: Agent) -> None:
    before = agent.snapshot()
    agent.cli("network", "create", "--subnet", "10.77.0.0/24", "--label", "a=b", "demo")
    view = agent.inspect("network", "demo")
    assert view["IPAM"]["Config"][0]["Subnet"] == "10.77.0.0/24"
    assert view["IPAM"]["Config"][0]["Gateway"] == "10.77.0.1"
    assert view["Labels"] == {"a": "b"}
    assert view["KernelObjects"]
    assert f"br-{view['Id'][:12]}" in agent.space.run("ip", "-o", "link").stdout
    agent.cli("network", "rm", "demo")
    agent.expect(before)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--subnet", "10.77.0.0/24", "overlap"), "overlaps"),
        (("--subnet", "nonsense", "x"), "subnet"),
        (("--subnet", "10.78.0.0/24", "--gateway", "10.79.0.1", "x"), "gateway"),
        (("--subnet", "10.78.0.0/24", "--ip-range", "10.79.0.0/25", "x"), "range"),
        (("--subnet", "10.78.0.0/24", "--ip-range", "10.78.0.0/31", "x"), "no address is left"),
        (("--subnet", "fe80::/64", "--ipv6", "x"), "every link has this range"),
        (("-o", "com.docker.network.bridge.host_binding_ipv4=999", "x"), "host_binding_ipv4"),
        (("--ipv6", "-o", "com.docker.network.driver.mtu=600", "x"), "network.driver.mtu"),
        (("--driver", "nonsense", "x"), "driver"),
        (("demo",), "in use"),
        (("host",), "name"),
        (("--driver", "host", "x"), "--network"),
        (("--scope", "swarm", "x"), "--scope"),
        (("--config-only", "x"), "--config-only"),
        (("bad/name",), "name"),
    ],
)
def test_bad_input_is_a_clear_error_and_nothing_is_left(
    agent: Agent, args: tuple[str, ...], says: str
) -> None:
    agent.cli("network", "create", "--subnet", "10.77.0.0/24", "demo")
    before = agent.snapshot()
    done = agent.cli("network", "create", *args, check=False)
    assert done.returncode in {1, 125}  # 125: the flags alone show that it cannot be
    assert says in done.stderr
    assert {row["Name"] for row in agent.rows("network")} == {*PREDEFINED, "demo"}
    agent.expect(before)


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["create", "dry-run"])
def test_a_bridge_name_that_is_another_ones_link_is_refused(
    agent: Agent, dry: tuple[str, ...]
) -> None:
    agent.cli("network", "create", "demo")
    agent.cli("run", "-d", "--name", "box", "--network", "demo", *SLEEP)
    links = agent.space.run("ip", "-br", "link").stdout
    host_end = next(word.split("@")[0] for word in links.split() if word.startswith("ve"))
    demo = f"br-{agent.inspect('network', 'demo')['Id'][:12]}"
    for started in (True, False):
        if not started:
            agent.cli("stop", "-t", "0", "box")
        before = agent.snapshot()
        for link, holder in ((demo, "network demo"), (host_end, "container box")):
            option = f"com.docker.network.bridge.name={link}"
            done = agent.cli("network", "create", *dry, "-o", option, "bad", check=False)
            assert done.returncode == 1
            assert f"link {link} belongs to {holder}; choose another name" in done.stderr
            assert "options.com.docker.network.bridge.name" in done.stderr
            agent.expect(before)


def test_pools_avoid_the_hosts_routes(make_agent, space) -> None:  # type: ignore[no-untyped-def]
    pools = '[network]\npools = [{ base = "10.50.0.0/22", size = 24 }]\n'
    space.run("ip", "link", "add", "up0", "type", "bridge")
    space.run("ip", "address", "add", "10.50.1.9/24", "dev", "up0")
    space.run("ip", "link", "set", "up0", "up")
    agent = make_agent(space, settings=pools)
    for name in ("one", "two"):
        agent.cli("network", "create", name)
    subnets = {
        agent.inspect("network", name)["IPAM"]["Config"][0]["Subnet"]
        for name in ("bridge", "one", "two")
    }
    assert subnets == {"10.50.0.0/24", "10.50.2.0/24", "10.50.3.0/24"}
    done = agent.cli("network", "create", "three", check=False)
    assert done.returncode == 1
    assert "no" in done.stderr


def test_a_used_or_predefined_network_stays(agent: Agent) -> None:
    agent.cli("network", "create", "demo")
    agent.cli("create", "--name", "box", "--network", "demo", *SLEEP)
    done = agent.cli("network", "rm", "demo", check=False)
    assert "box" in done.stderr
    for name in PREDEFINED:
        done = agent.cli("network", "rm", name, check=False)
        assert "predefined" in done.stderr
    agent.cli("rm", "box")
    agent.cli("network", "prune", "-f")
    assert [row["Name"] for row in agent.rows("network")] == PREDEFINED


def test_an_internal_network_has_no_way_out(agent: Agent) -> None:
    agent.cli("network", "create", "--internal", "inner")
    for name in ("one", "two"):
        agent.cli("run", "-d", "--name", name, "--network", "inner", *SLEEP)
    assert agent.say("exec", "one", "ip", "route").count("default") == 0
    agent.cli("exec", "one", "ping", "-c1", "-W2", "two")


def test_wanted_addresses(agent: Agent) -> None:
    agent.cli("network", "create", "--subnet", "10.77.0.0/24", "demo")
    agent.cli("run", "-d", "--name", "a", "--network", "demo", "--ip", "10.77.0.9", *SLEEP)
    settings = agent.inspect("container", "a")["NetworkSettings"]["Networks"]["demo"]
    assert settings["IPAddress"] == "10.77.0.9"
    for wanted, says in (
        ("10.77.0.9", "in use"),
        ("10.77.0.255", "broadcast"),
        ("10.78.0.1", "subnet"),
        ("x", "address"),
    ):
        done = agent.cli("run", "-d", "--network", "demo", "--ip", wanted, *SLEEP, check=False)
        assert done.returncode == 125
        assert says in done.stderr
    assert len(agent.rows("container", "-a")) == 1


def test_a_second_container_with_one_mac_address_is_refused(agent: Agent) -> None:
    for name in ("demo", "other"):
        agent.cli("network", "create", name)
    wanted = ("--mac-address", "02:00:00:00:00:0a", "--network")
    agent.cli("create", "--name", "box", *wanted, "demo", *SLEEP)
    agent.cli("create", "--name", "elsewhere", *wanted, "other", *SLEEP)
    same = ("--mac-address", "02-00-00-00-00-0A")
    for verb in (
        ("run", "-d", "--name", "double", *same, "--network", "demo", *SLEEP),
        ("network", "connect", *same, "demo", "elsewhere"),
    ):
        done = agent.cli(*verb, check=False)
        assert done.returncode != 0
        assert "MAC address is in use" in done.stderr
        assert "mac_address" in done.stderr
        assert "box" in done.stderr
    assert {row["Names"] for row in agent.rows("container", "-a")} == {"box", "elsewhere"}


def test_ipv6(agent: Agent) -> None:
    agent.cli("network", "create", "--ipv6", "--subnet", "fd77:1::/64", "six")
    agent.cli("run", "-d", "--name", "a", "--network", "six", *SLEEP)
    agent.cli("run", "-d", "--name", "b", "--network", "six", *SLEEP)
    address = agent.inspect("container", "b")["NetworkSettings"]["Networks"]["six"]
    assert address["GlobalIPv6Address"].startswith("fd77:1::")
    agent.cli("exec", "a", "ping", "-6", "-c1", "-W2", "b")


def test_a_network_of_ipv6_alone(agent: Agent) -> None:
    before = agent.snapshot()
    agent.cli("network", "create", "--ipv4=false", "--ipv6", "six")
    view = agent.inspect("network", "six")
    assert (view["EnableIPv4"], view["EnableIPv6"]) == (False, True)
    assert [":" in each["Subnet"] for each in view["IPAM"]["Config"]] == [True]
    for name in ("a", "b"):
        agent.cli("run", "-d", "--name", name, "--network", "six", *SLEEP)
    assert agent.inspect("container", "a")["NetworkSettings"]["Networks"]["six"]["IPAddress"] == ""
    agent.cli("exec", "a", "ping", "-6", "-c1", "-W2", "b")
    agent.remove_all()
    agent.expect(before)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--ipv4=false",), "ipv6"),
        (("--ipv4=false", "--ipv6", "--subnet", "10.77.0.0/24"), "ipv4"),
        (("-o", "com.docker.network.bridge.gateway_mode_ipv4=open"), "gateway_mode_ipv4"),
        (("-o", "com.docker.network.bridge.gateway_mode_ipv6=isolated"), "internal"),
        (("-o", "com.docker.network.bridge.enable_icc=no"), "enable_icc"),
        (("-o", "com.docker.network.bridge.nonsense=1"), "nonsense"),
    ],
)
def test_options_that_cannot_be_are_named(
    shared_agent: Agent, args: tuple[str, ...], says: str
) -> None:
    done = shared_agent.cli("network", "create", *args, "x", check=False)
    assert done.returncode == 1
    assert says in done.stderr
    assert [row["Name"] for row in shared_agent.rows("network")] == PREDEFINED


def test_the_mtu_is_that_of_the_way_out_if_nobody_says(make_agent, space) -> None:  # type: ignore[no-untyped-def]
    space.run("ip", "link", "add", "up0", "mtu", "1420", "type", "bridge")
    space.run("ip", "address", "add", "192.0.2.9/24", "dev", "up0")
    space.run("ip", "link", "set", "up0", "up")
    space.run("ip", "route", "add", "default", "via", "192.0.2.1")
    agent = make_agent(space)
    agent.cli("network", "create", "auto")
    agent.cli("network", "create", "-o", "com.docker.network.driver.mtu=1300", "own")
    assert [agent.inspect("network", name)["MTU"] for name in ("auto", "own")] == [1420, 1300]
    agent.cli("run", "-d", "--name", "a", "--network", "auto", *SLEEP)
    assert "mtu 1420" in agent.say("exec", "a", "ip", "link", "show", "eth0")


def test_names_as_docker_takes_them(agent: Agent) -> None:
    name = "my net@home #1$"
    agent.cli("network", "create", "--attachable", "--scope", "local", name)
    assert agent.inspect("network", name)["Name"] == name
    agent.cli("run", "-d", "--name", "a", "--network", name, *SLEEP)
    agent.cli("run", "--rm", "--network", name, "busybox", "ping", "-c1", "-W2", "a")
    agent.cli("rm", "-f", "a")
    agent.cli("network", "rm", name)
    for bad in (" x", "-x", "a:b", "a,b", "a=b", "a\tb"):
        assert agent.cli("network", "create", "--", bad, check=False).returncode == 1


def test_a_route_that_comes_into_a_subnet_is_told_and_shown_while_it_is_there(agent: Agent) -> None:
    agent.cli("network", "create", "--subnet", "10.77.0.0/24", "demo")
    agent.space.run("ip", "link", "add", "up0", "type", "bridge")
    agent.space.run("ip", "link", "set", "up0", "up")
    route = ("10.77.0.0/16", "dev", "up0", "table", "77")
    agent.space.run("ip", "route", "add", *route)
    wait_for(lambda: conflicts(agent) == ["10.77.0.0/16 dev up0"])
    events = agent.say("events", "--since", "1m", "--until", "0s", "--filter", "event=conflict")
    assert events.count("10.77.0.0/16 dev up0") == 1
    assert metric(agent, "nodeagent_network_subnet_conflicts", "demo") == 1
    agent.space.run("ip", "route", "del", *route)
    wait_for(lambda: not conflicts(agent))
    assert metric(agent, "nodeagent_network_subnet_conflicts", "demo") == 0


def conflicts(agent: Agent) -> list[str]:
    found: list[str] = agent.inspect("network", "demo")["Conflicts"]
    return found


def metric(agent: Agent, name: str, network: str) -> float:
    lines = agent.space.fetch("http://127.0.0.1:9323/metrics").splitlines()
    (row,) = [each for each in lines if each.startswith(name) and f'name="{network}"' in each]
    return float(row.rpartition(" ")[2])


def wait_for(look: Callable[[], bool], within_s: float = 15.0) -> None:
    deadline = time.monotonic() + within_s
    while not look():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.2)


def test_rm_of_several_goes_on_after_one_in_use(agent: Agent) -> None:
    for name in ("one", "two", "three"):
        agent.cli("network", "create", name)
    agent.cli("create", "--name", "box", "--network", "two", *SLEEP)
    done = agent.cli("network", "rm", "one", "two", "three", check=False)
    assert done.returncode == 1
    assert done.stdout.split() == ["one", "three"]
    assert "has active endpoints" in done.stderr
    assert {row["Name"] for row in agent.rows("network")} == {"bridge", "host", "none", "two"}
    assert agent.cli("network", "rm", "one", check=False).returncode == 1
    agent.cli("network", "rm", "-f", "one")


def test_filters_of_ls_and_prune(agent: Agent) -> None:
    agent.cli("network", "create", "--label", "keep", "kept")
    agent.cli("network", "create", "used")
    agent.cli("network", "create", "left")
    agent.cli("create", "--name", "box", "--network", "used", *SLEEP)
    for words, names in (
        (("dangling=true",), {"kept", "left"}),
        (("dangling=false",), {"bridge", "host", "none", "used"}),
        (("type=builtin",), {"bridge", "host", "none"}),
        (("label=keep",), {"kept"}),
        (("name=e", "driver=bridge"), {"bridge", "kept", "left", "used"}),
        (("scope=global",), set()),
    ):
        flags = [flag for word in words for flag in ("--filter", word)]
        assert {row["Name"] for row in agent.rows("network", *flags)} == names, words
    agent.cli("network", "prune", "-f", "--filter", "until=1h")
    assert len(agent.rows("network")) == 6
    agent.cli("network", "prune", "-f", "--filter", "label!=keep")
    assert {row["Name"] for row in agent.rows("network")} == {
        "bridge",
        "host",
        "none",
        "kept",
        "used",
    }
    done = agent.cli("network", "prune", "-f", "--filter", "dangling=true", check=False)
    assert "no such filter" in done.stderr


def test_an_id_goes_before_a_name(agent: Agent) -> None:
    id_ = agent.say("network", "create", "the-first-one")
    other = agent.say("network", "create", id_)
    agent.cli("network", "rm", id_)
    (left,) = (row for row in agent.rows("network", "--no-trunc") if len(row["Name"]) > 10)
    assert (left["ID"], left["Name"]) == (other, id_)


def test_host_and_none_are_no_networks_to_join(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "box", *SLEEP)
    for verb, says in (("connect", "host's network"), ("disconnect", "not on this network")):
        done = agent.cli("network", verb, "host", "box", check=False)
        assert says in done.stderr
    before = agent.inspect("container", "box")["NetworkSettings"]
    done = agent.cli("network", "connect", "bridge", "box", check=False)
    assert done.returncode == 1
    assert agent.inspect("container", "box")["NetworkSettings"] == before


def test_a_rename_is_seen_by_the_network(agent: Agent) -> None:
    agent.cli("network", "create", "demo")
    agent.cli("run", "-d", "--name", "old", "--network", "demo", *SLEEP)
    agent.cli("rename", "old", "new")
    (member,) = agent.inspect("network", "demo")["Containers"].values()
    assert member["Name"] == "new"

"""Plans are asked for and printed, and the change itself is not."""

import json

import pytest

OPS = ["+ link br-1 type bridge", "+ addr 172.30.0.1/16 dev br-1"]


@pytest.mark.parametrize(
    ("argv", "change"),
    [
        (("network", "plan"), {}),
        (
            ("network", "plan", "create", "--subnet", "172.30.0.0/16", "demo"),
            {"create": {"name": "demo", "subnets": [{"subnet": "172.30.0.0/16"}]}},
        ),
        (("network", "create", "--dry-run", "demo"), {"create": {"name": "demo"}}),
        (("network", "rm", "--dry-run", "demo"), {"rm": {"name": "demo"}}),
        (
            ("network", "connect", "--dry-run", "--ip", "172.30.0.9", "demo", "web"),
            {"connect": {"network": "demo", "container": "web", "endpoint": {"ip": "172.30.0.9"}}},
        ),
        (
            ("network", "plan", "disconnect", "demo", "web"),
            {"disconnect": {"network": "demo", "container": "web"}},
        ),
        (
            ("network", "plan", "run", "--network", "demo", "busybox", "ls", "-l"),
            {"run": {"image": "busybox", "cmd": ["ls", "-l"], "network_mode": "demo"}},
        ),
        (("run", "--dry-run", "busybox"), {"run": {"image": "busybox"}}),
    ],
)
def test_a_plan_is_one_call_and_its_ops_are_printed(agent_of, cli, argv, change):
    agent = agent_of({"network.plan": {"ops": OPS}})
    said = cli(agent, *argv)
    assert (said.code, said.out.splitlines()) == (0, OPS)
    ((method, params),) = agent.calls
    assert method == "network.plan"
    assert params.keys() == change.keys()
    for name, fields in change.items():
        assert fields.items() <= params[name].items()


def test_nothing_to_do_is_said(agent_of, cli):
    said = cli(agent_of({"network.plan": {"ops": []}}), "network", "plan", "rm", "demo")
    assert said.out == "nothing to change\n"


@pytest.mark.parametrize(
    "argv",
    [
        ("network", "plan", "--format", "json"),
        ("network", "plan", "--format=json", "rm", "demo"),
        ("network", "plan", "rm", "--format=json", "demo"),
        ("network", "rm", "--dry-run", "--format=json", "demo"),
        ("run", "--dry-run", "--format=json", "busybox"),
    ],
)
def test_a_plan_for_programs_is_one_object(agent_of, cli, argv):
    said = cli(agent_of({"network.plan": {"ops": OPS}}), *argv)
    assert (said.code, json.loads(said.out)) == (0, {"ops": OPS})
    assert said.out.count("\n") == 1


@pytest.mark.parametrize(
    ("verb", "found", "code"),
    [
        ("check", {"ops": [], "conflicts": []}, 0),
        ("check", {"ops": OPS, "conflicts": ["link eth0 is not ours"]}, 1),
        ("repair", {"ops": OPS, "conflicts": []}, 0),
        ("audit", {"leaks": [], "others": {}}, 0),
        ("audit", {"leaks": [{"kind": "veth", "what": "v1", "why": "no owner"}], "others": {}}, 1),
    ],
)
def test_what_differs_is_one_object_for_programs_too(agent_of, cli, verb, found, code):
    said = cli(agent_of({f"network.{verb}": found}), "network", verb, "--format", "json")
    assert (said.code, json.loads(said.out)) == (code, found)
    assert said.out.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("network", "plan", "prune"), "prune"),
        (("network", "plan", "connect", "demo"), "2 arguments"),
        (("network", "plan", "create", "--nonsense", "demo"), "--nonsense"),
    ],
)
def test_what_cannot_be_planned_is_a_usage_error(cli, argv, says):
    said = cli(None, *argv)
    assert said.code == 125
    assert says in said.err

"""A hundred containers on one network, started through one connection."""

import os
import random
import signal

from nodeagent.rpc.sync_client import open_sync_client
from tests.system.harness.agent import Agent

COUNT = 100
SAMPLE = 5
NAMES = [f"c{n}" for n in range(COUNT)]


def pipelined(agent: Agent, method: str, params: list[dict[str, object]]) -> None:
    """Make all calls at once on one connection; every one must succeed."""
    with open_sync_client(agent.host) as client:
        streams = [client.stream(method, each) for each in params]
        for stream in streams:
            with stream:
                stream.result()


def test_a_hundred(agent: Agent) -> None:
    agent.cli("network", "create", "demo")
    before = agent.snapshot()
    request = {"image": "busybox", "cmd": ["sleep", "1000"], "network_mode": "demo"}
    pipelined(agent, "container.create", [request | {"name": name} for name in NAMES])
    pipelined(agent, "container.start", [{"name": name} for name in NAMES])

    members = agent.inspect("network", "demo")["Containers"].values()
    addresses = {each["Name"]: each["IPv4Address"].partition("/")[0] for each in members}
    assert sorted(addresses) == sorted(NAMES)
    assert len(set(addresses.values())) == COUNT, "an address was given twice"

    script = "; ".join(f"nslookup {name} 127.0.0.11 | tail -n +3" for name in NAMES)
    for name in random.Random(7).sample(NAMES, SAMPLE):
        answers = agent.say("exec", name, "sh", "-c", script)
        found = [line.split()[-1] for line in answers.splitlines() if line.startswith("Address")]
        assert found == [addresses[each] for each in NAMES], f"as seen from {name}"

    pids = {name: agent.pid_of(name) for name in NAMES}
    for leave, gone in ((agent.kill, NAMES[0]), (agent.stop, NAMES[1])):
        leave()
        os.kill(pids.pop(gone), signal.SIGKILL)  # it ends while no agent looks
        agent.start()
        assert agent.say("wait", gone) == "137"
        assert {name: agent.pid_of(name) for name in pids} == pids
        assert {row["Names"] for row in agent.rows("container")} == set(pids)

    pipelined(agent, "container.rm", [{"name": name, "force": True} for name in NAMES])
    agent.expect(before)

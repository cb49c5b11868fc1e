"""Several agents as hosts of a cluster, around a router."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.fakes.capture import Capture
from tests.fakes.lab import Lab
from tests.system.harness.agent import Agent, open_agent
from tests.system.harness.namespace import Namespace

WAIT_S = 30.0


class Hosts:
    """Agents in the lab's namespaces; ``form`` makes a cluster of them."""

    def __init__(self, lab: Lab, agents: Sequence[Agent]) -> None:
        self.lab = lab
        self.agents = list(agents)

    def form(self, *roles: str) -> None:
        """The first begins it; the others join as ``roles`` say."""
        first = self.agents[0]
        first.cli("cluster", "init", "--advertise-addr", self.lab.address(0))
        for n, role in enumerate(roles, 1):
            token = first.say("cluster", "token", role)
            self.agents[n].cli("cluster", "join", "--token", token, f"{self.lab.address(0)}:2377")
        for agent in self.agents[: 1 + len(roles)]:
            wait_for(lambda agent=agent: self.ready(agent) == 1 + len(roles))

    @staticmethod
    def ready(agent: Agent) -> int:
        """How many nodes an agent takes to be up."""
        return sum(row["Status"] == "ready" for row in agent.rows("node"))

    def capture(self, n: int, expression: str = "") -> Capture:
        """What goes over the cable of host n."""
        file = self.agents[n].base / f"wire{time.monotonic_ns()}.pcap"
        return Capture(self.lab.enter(self.lab.hosts[n]), "up0", file, expression)

    def inside(self, n: int, script: str) -> str:
        return self.lab.sh(self.lab.hosts[n], script)


def wait_for(condition: Callable[[], bool], within_s: float = WAIT_S) -> float:
    """Ask until it is so; the seconds that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, "it did not come to be so"
        time.sleep(0.05)
    return time.monotonic() - began


def pings(agent: Agent, container: str, target: str, *flags: str) -> bool:
    """Whether an echo request from inside a container is answered."""
    words = ["exec", container, "ping", "-c1", "-W1", *flags, target]
    return agent.cli(*words, check=False).returncode == 0


@contextmanager
def open_hosts(count: int, tar: Path, *, settings: str = "") -> Iterator[Hosts]:
    """Agents that do not know each other yet. At the end nothing of them is left."""
    lab = Lab(count)
    try:
        with ExitStack() as stack:
            stack.callback(_end_all, lab)
            agents = [
                stack.enter_context(open_agent(Namespace(name=name), settings=settings))
                for name in lab.hosts
            ]
            for agent in agents:
                agent.cli("image", "import", str(tar), "busybox:latest")
            yield Hosts(lab, agents)
    finally:
        lab.close()


def _end_all(lab: Lab) -> None:
    """End what runs in the lab's namespaces: agents leave their helpers behind on purpose."""
    spaces = {(Path("/run/netns") / name).stat().st_ino for name in lab.hosts}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal() and (entry / "ns/net").stat().st_ino in spaces:
                os.kill(int(entry.name), signal.SIGKILL)

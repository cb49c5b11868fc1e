"""A random walk over container verbs, with kills of the agent: state, codes and logs follow.

The model knows of each container how it must stand, its last exit code and every line it has said.
Programs also end while the agent is away: codes, logs and restarts of that are exact, too.
``NODEAGENT_WALKS`` asks for more walks than the check takes.
"""

import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nodeagent.rpc.errors import RpcError
from nodeagent.rpc.sync_client import open_sync_client
from tests.system.harness.agent import Agent

WALKS = int(os.environ.get("NODEAGENT_WALKS", "3"))
STEPS = 20
SETTLE_S = 15.0  # a restart's back-off doubles from 0.1 s; the rest is for a busy machine
NAMES = ("a", "b", "c")
POLICIES = ("no", "on-failure", "unless-stopped", "always")
# what the agent mounts for it besides its root
FORMS: tuple[dict[str, object], ...] = (
    {},
    {"userns_mode": "auto"},
    {"storage_size_bytes": 24 << 20},
    {"ipc_mode": "shareable"},
)
PROGRAM = """trap 'echo term; exit 7' TERM; echo start
while [ ! -e /end ]; do sleep 0.02; done
read code < /end; rm /end; echo end $code; exit $code"""


@dataclass
class Box:
    policy: str
    state: str = "created"
    code: int = 0
    by_hand: bool = False  # it was stopped, not ended
    memory: int = 0
    said: list[str] = field(default_factory=list)

    def begin(self) -> None:
        self.state, self.code, self.by_hand = "running", 0, False
        self.said.append("start")

    def end(self, code: int, *words: str) -> None:
        self.state, self.code = "exited", code
        self.said += words

    @property
    def comes_back(self) -> bool:
        if self.policy == "on-failure":
            return self.code != 0
        return self.policy in {"always", "unless-stopped"}


class Walk:
    """One walk, the same for the same seed."""

    def __init__(self, agent: Agent, seed: int) -> None:
        self.agent, self.chance = agent, random.Random(seed)
        self.agent.remove_all()
        self.boxes: dict[str, Box] = {}
        self.steps: list[str] = []
        self.before = self.agent.snapshot()
        for name in NAMES[:2]:
            self.create(name)
            self.start(name)

    def step(self) -> None:
        """One verb on one container, or what befalls the agent."""
        name = self.chance.choice(NAMES)
        verbs = (self.start, self.stop, self.kill, self.pause, self.unpause, self.restart, self.rm,
                 self.rename, self.update, self.exec, self.ends, self.ends, self.away,
                 self.away)  # fmt: skip
        act = self.chance.choice(verbs) if name in self.boxes else self.create
        self.steps.append(f"{act.__name__} {name}")
        act(name)

    def call(self, method: str, **params: object) -> object:
        with open_sync_client(self.agent.host) as client:
            return client.call(f"container.{method}", params)

    def allowed(self, is_allowed: bool, method: str, **params: object) -> bool:
        """Make the call: it must be refused, and change nothing, if the model says so."""
        if is_allowed:
            self.call(method, **params)
            return True
        with pytest.raises(RpcError) as caught:
            self.call(method, **params)
        assert caught.value.kind == "conflict"
        return False

    def create(self, name: str) -> None:
        box = Box(policy=self.chance.choice(POLICIES))
        policy, form = {"name": box.policy}, self.chance.choice(FORMS)
        self.call("create", image="busybox", name=name, cmd=["sh", "-c", PROGRAM],
                  network_mode="none", restart_policy=policy, **form)  # fmt: skip
        self.boxes[name] = box

    def start(self, name: str) -> None:
        box = self.boxes[name]
        if box.state == "paused":
            return
        self.call("start", name=name)
        if box.state != "running":
            box.begin()
            self.wait_said(name)

    def stop(self, name: str) -> None:
        box = self.boxes[name]
        self.call("stop", name=name, timeout_s=10)
        if box.state in {"running", "paused"}:
            box.end(7, "term")
            box.by_hand = True

    def kill(self, name: str) -> None:
        box = self.boxes[name]
        if self.allowed(box.state in {"running", "paused"}, "kill", name=name):
            self.call("wait", name=name)
            box.end(137)
            box.by_hand = True

    def pause(self, name: str) -> None:
        if self.allowed(self.boxes[name].state == "running", "pause", name=name):
            self.boxes[name].state = "paused"

    def unpause(self, name: str) -> None:
        if self.allowed(self.boxes[name].state == "paused", "unpause", name=name):
            self.boxes[name].state = "running"

    def restart(self, name: str) -> None:
        box = self.boxes[name]
        self.call("restart", name=name, timeout_s=10)
        if box.state in {"running", "paused"}:
            box.end(7, "term")
        box.begin()
        self.wait_said(name)

    def rm(self, name: str) -> None:
        force = self.chance.random() < 0.5
        is_down = self.boxes[name].state in {"created", "exited"}
        if self.allowed(force or is_down, "rm", name=name, force=force):
            del self.boxes[name]

    def rename(self, name: str) -> None:
        new = self.chance.choice([each for each in NAMES if each != name])
        if self.allowed(new not in self.boxes, "rename", name=name, new_name=new):
            self.boxes[new] = self.boxes.pop(name)

    def update(self, name: str) -> None:
        self.boxes[name].memory = self.chance.choice((32, 64, 128)) << 20
        self.agent.cli("update", "-m", str(self.boxes[name].memory), name)

    def exec(self, name: str) -> None:
        done = self.agent.cli("exec", name, "sh", "-c", "exit 9", check=False)
        assert done.returncode == (9 if self.boxes[name].state == "running" else 1), done.stderr

    def ends(self, name: str) -> None:
        """The program ends by itself; its policy decides."""
        if self.boxes[name].state == "running":
            self.tell_to_end(name)

    def away(self, name: str) -> None:
        """The agent is killed, and maybe a program ends before there is another agent."""
        box, ends = self.boxes[name], self.chance.random() < 0.6
        pid = self.agent.pid_of(name)
        self.agent.kill()
        if box.state == "running" and ends:
            self.tell_to_end(name, pid)
            deadline = time.monotonic() + SETTLE_S
            while Path(f"/proc/{pid}").exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
        self.agent.start()
        for each in self.boxes.values():  # comes up with the agent even after a stop
            if each.policy == "always" and each.state == "exited":
                each.begin()

    def tell_to_end(self, name: str, pid: int = 0) -> None:
        box, code = self.boxes[name], self.chance.choice((0, 3))
        root = Path(f"/proc/{pid or self.agent.pid_of(name)}/root")
        (root / "end.new").write_text(f"{code}\n", "utf-8")
        (root / "end.new").rename(root / "end")
        box.end(code, f"end {code}")
        if box.comes_back:
            box.begin()

    # --- what must hold -------------------------------------------------------------------------

    def wait_said(self, name: str) -> None:
        """Until it has said all it must have: only then has it its trap."""
        deadline = time.monotonic() + SETTLE_S
        while self.agent.say("logs", name).splitlines() != self.boxes[name].said:
            assert time.monotonic() < deadline, self.differences()
            time.sleep(0.02)

    def check(self) -> None:
        deadline = time.monotonic() + SETTLE_S
        while found := self.differences():
            if time.monotonic() > deadline:
                raise AssertionError(f"{found}\n{self.steps}\n{self.agent.log_tail()}")
            time.sleep(0.05)

    def differences(self) -> list[str]:
        names = {row["Names"] for row in self.agent.rows("container", "-a")}
        if names != set(self.boxes):
            return [f"there are {names}, not {set(self.boxes)}"]
        found = []
        for name, box in self.boxes.items():
            view = self.agent.inspect("container", name)
            state, memory = view["State"], view["HostConfig"]["Memory"]
            seen = (state["Status"], state["ExitCode"], memory)
            if seen != (box.state, box.code, box.memory):
                found.append(f"{name}: {seen}, not {box}")
            said = self.agent.say("logs", name).splitlines()
            if said != box.said:
                found.append(f"{name} said {said}, not {box.said}")
        return found

    def teardown(self) -> None:
        self.agent.remove_all()
        self.agent.expect(self.before)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(WALKS))
def test_walk(shared_agent: Agent, seed: int) -> None:
    walk = Walk(shared_agent, seed)
    for _ in range(STEPS):
        walk.step()
        walk.check()
    walk.teardown()

"""A random walk over volumes, with kills and rollbacks: the bytes follow the model.

The model knows which bytes each volume, snapshot and removed volume must have. After every step
all of them are there, and no other; their files are compared by hash. ``NODEAGENT_WALKS`` asks
for more walks than the check takes.
"""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from nodeagent.rpc.errors import RpcError
from nodeagent.rpc.sync_client import open_sync_client
from tests.system.harness.agent import Agent

WALKS = int(os.environ.get("NODEAGENT_WALKS", "0"))  # 0: the few of the check, always the same
STEPS = 20
NAMES = ("a", "b", "c")
NAME = st.sampled_from(NAMES)
IDLE = ("busybox", "sleep", "1000")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Walk(RuleBasedStateMachine):
    """One walk; ``agent`` and ``folder`` are put in by the test."""

    agent: Agent
    folder: Path

    @initialize()
    def begin(self) -> None:
        self.agent.remove_all()
        self.bytes: dict[str, str] = {}  # sha256 of /file, by name
        self.users: set[str] = set()  # volumes with a container that runs
        self.labels = 0
        self.before = self.agent.snapshot()
        for name, driver in (("a", "local"), ("b", "image")):
            self.make(name, driver)

    def make(self, name: str, driver: str) -> None:
        options = {"size": "16m"} if driver == "image" else {}
        self.call("volume.create", name=name, driver=driver, options=options)
        self.bytes[name] = ""
        self.write(name)

    def call(self, method: str, **params: object) -> dict[str, object]:
        with open_sync_client(self.agent.host) as client:
            return client.call_as(dict[str, object], method, params)

    def refused(self, method: str, **params: object) -> None:
        with pytest.raises(RpcError):
            self.call(method, **params)

    # --- the verbs --------------------------------------------------------------------------------

    @rule(name=NAME, driver=st.sampled_from(["local", "image"]))
    def create(self, name: str, driver: str) -> None:
        if name not in self.bytes:
            self.make(name, driver)

    @rule(name=NAME)
    def write(self, name: str) -> None:
        if name not in self.bytes:
            return
        data = os.urandom(70_000)
        (self.folder / "file").write_bytes(data)
        where = ("run", "--rm", "-v", f"{name}:/d", "-v", f"{self.folder}:/in:ro", "busybox")
        self.agent.cli(*where, "sh", "-c", "cp /in/file /d/file && sync /d/file")
        self.bytes[name] = digest(data)

    @rule(name=NAME)
    def snapshot(self, name: str) -> None:
        self.labels += 1
        if name in self.bytes:
            made = self.call("volume.snapshot", name=name, label=f"s{self.labels}")
            self.bytes[str(made["Name"])] = self.bytes[name]
        else:
            self.refused("volume.snapshot", name=name)

    @rule(name=NAME, to=NAME)
    def clone(self, name: str, to: str) -> None:
        if name in self.bytes and to not in self.bytes:
            self.call("volume.clone", name=name, target=to)
            self.bytes[to] = self.bytes[name]
        else:
            self.refused("volume.clone", name=name, target=to)

    @precondition(lambda self: any("@s" in name for name in self.bytes))
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        snapshot = data.draw(st.sampled_from(sorted(n for n in self.bytes if "@s" in n)))
        name = snapshot.partition("@")[0]
        if name not in self.bytes or name in self.users:
            self.refused("volume.restore", name=snapshot)
            return
        self.call("volume.restore", name=snapshot)
        self.adopt_removed(self.bytes[name])
        self.bytes[name] = self.bytes[snapshot]

    @rule(name=NAME)
    def rm(self, name: str) -> None:
        if name not in self.bytes or name in self.users:
            self.refused("volume.rm", name=name)
            return
        kept = str(self.call("volume.rm", name=name)["Name"])
        self.bytes[kept] = self.bytes.pop(name)

    @precondition(lambda self: any("@removed" in name for name in self.bytes))
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        removed = data.draw(st.sampled_from(sorted(n for n in self.bytes if "@removed" in n)))
        name = removed.partition("@")[0]
        if name in self.bytes:
            self.refused("volume.restore", name=removed)
        else:
            self.call("volume.restore", name=removed)
            self.bytes[name] = self.bytes.pop(removed)

    @rule(name=NAME, new=NAME)
    def rename(self, name: str, new: str) -> None:
        if name in self.bytes and new not in self.bytes and name not in self.users:
            self.call("volume.rename", name=name, new=new)
            self.bytes[new] = self.bytes.pop(name)
        else:
            self.refused("volume.rename", name=name, new=new)

    @rule(name=NAME, to=NAME)
    def move_as_archive(self, name: str, to: str) -> None:
        if name not in self.bytes or to in self.users:
            return
        archive = str(self.folder / "archive.tar.zst")
        self.agent.cli("volume", "export", "-o", archive, name)
        self.agent.cli("volume", "import", to, archive)
        if to in self.bytes:
            self.adopt_removed(self.bytes[to])
        self.bytes[to] = self.bytes[name]

    @rule(name=NAME)
    def use(self, name: str) -> None:
        if name in self.bytes and name not in self.users:
            self.agent.cli("run", "-d", "--name", f"user-{name}", "-v", f"{name}:/d", *IDLE)
            self.users.add(name)

    @rule(name=NAME)
    def leave(self, name: str) -> None:
        if name in self.users:
            self.agent.cli("rm", "-f", f"user-{name}")
            self.users.discard(name)

    @rule()
    def kill(self) -> None:
        self.agent.kill()
        self.agent.start()

    # --- what must hold ---------------------------------------------------------------------------

    def adopt_removed(self, content: str) -> None:
        """A removed volume came that the agent named."""
        (new,) = self.names() - set(self.bytes)
        assert "@removed" in new
        self.bytes[new] = content

    def names(self) -> set[str]:
        return {row["Name"] for row in self.agent.rows("volume", "--all")}

    @invariant()
    def every_volume_has_its_bytes_and_there_is_no_other(self) -> None:
        if not hasattr(self, "bytes"):
            return
        assert self.names() == set(self.bytes)
        folders = {each.name for each in (self.agent.root / "volumes").iterdir()}
        assert folders == set(self.bytes)
        for name, wanted in self.bytes.items():
            found = self.agent.inspect("volume", name)
            assert (found["Health"], len(found["Leases"])) == ("healthy", int(name in self.users))
            if found["Driver"] == "local":
                data = (Path(found["Mountpoint"]) / "file").read_bytes()
                assert digest(data) == wanted, name

    def teardown(self) -> None:
        if not hasattr(self, "bytes"):
            return
        for name in self.users:
            self.agent.cli("rm", "-f", f"user-{name}")
        self.check_images()
        for name in self.names():
            self.agent.cli("volume", "rm", "--now", name)
        self.agent.expect(self.before)

    def check_images(self) -> None:
        """The bytes of image volumes, at the end: each look at one is a mount."""
        for name in sorted(self.names()):
            if self.agent.inspect("volume", name)["Driver"] != "image":
                continue
            if "@" in name:
                self.call("volume.clone", name=name, target="look")
            volume = "look" if "@" in name else name
            said = self.agent.say(
                "run", "--rm", "-v", f"{volume}:/d", "busybox", "sha256sum", "/d/file"
            )
            assert said.split()[0] == self.bytes[name], name
            if volume == "look":
                self.agent.cli("volume", "rm", "--now", "look")


@pytest.mark.timeout(300 + 120 * WALKS)
def test_walks(agent: Agent, tmp_path: Path) -> None:
    class Here(Walk):
        pass

    Here.agent, Here.folder = agent, tmp_path
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=WALKS or 4,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not WALKS,
            database=None,
            phases=[Phase.generate],  # to shorten a failed walk would take minutes
            suppress_health_check=list(HealthCheck),
        ),
    )

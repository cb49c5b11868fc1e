"""A random walk over volumes, with kills and rollbacks: the bytes follow the model.

The model knows which bytes each volume, snapshot and removed volume must have. After every step
all of them are there, and no other; their files are compared by hash. ``NODEAGENT_WALKS`` asks
for more walks than the check takes.
"""

import hashlib
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nodeagent.rpc.errors import RpcError
from nodeagent.rpc.sync_client import open_sync_client
from tests.system.harness.agent import Agent

WALKS = int(os.environ.get("NODEAGENT_WALKS", "2"))
STEPS = 40
NAMES = ("a", "b", "c")
IDLE = ("busybox", "sleep", "1000")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Walk:
    """One walk, the same for the same seed."""

    def __init__(self, agent: Agent, folder: Path, seed: int) -> None:
        self.agent, self.folder, self.chance = agent, folder, random.Random(seed)
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

    def any(self, things: Sequence[str]) -> str:
        return self.chance.choice(things) if things else ""

    def step(self) -> None:
        """One verb, or what befalls the agent."""
        act = self.chance.choice(
            (
                self.create, self.write, self.write, self.snapshot, self.clone, self.restore,
                self.restore, self.rm, self.undo, self.rename, self.move_as_archive, self.use,
                self.leave, self.kill,
            )
        )  # fmt: skip
        print(act.__name__, sorted(self.bytes))
        act()

    def call(self, method: str, **params: object) -> dict[str, object]:
        with open_sync_client(self.agent.host) as client:
            return client.call_as(dict[str, object], method, params)

    def refused(self, method: str, **params: object) -> None:
        with pytest.raises(RpcError):
            self.call(method, **params)

    # --- the verbs --------------------------------------------------------------------------------

    def create(self) -> None:
        name, driver = self.any(NAMES), self.any(("local", "image"))
        if name not in self.bytes:
            self.make(name, driver)

    def write(self, name: str = "") -> None:
        name = name or self.any(NAMES)
        if name not in self.bytes:
            return
        data = self.chance.randbytes(70_000)
        (self.folder / "file").write_bytes(data)
        where = ("run", "--rm", "-v", f"{name}:/d", "-v", f"{self.folder}:/in:ro", "busybox")
        self.agent.cli(*where, "sh", "-c", "cp /in/file /d/file && sync /d/file")
        self.bytes[name] = digest(data)

    def snapshot(self, name: str = "") -> None:
        name = name or self.any(NAMES)
        self.labels += 1
        if name in self.bytes:
            made = self.call("volume.snapshot", name=name, label=f"s{self.labels}")
            self.bytes[str(made["Name"])] = self.bytes[name]
        else:
            self.refused("volume.snapshot", name=name)

    def clone(self) -> None:
        name, to = self.any(NAMES), self.any(NAMES)
        if name in self.bytes and to not in self.bytes:
            self.call("volume.clone", name=name, target=to)
            self.bytes[to] = self.bytes[name]
        else:
            self.refused("volume.clone", name=name, target=to)

    def restore(self) -> None:
        snapshot = self.any(sorted(n for n in self.bytes if "@s" in n))
        if not snapshot:
            return
        name = snapshot.partition("@")[0]
        drivers = {each["Name"]: each["Driver"] for each in self.look()}
        # a later volume of the name may be of another kind
        if name in self.users or drivers.get(name) != drivers[snapshot]:
            self.refused("volume.restore", name=snapshot)
            return
        self.call("volume.restore", name=snapshot)
        self.adopt_removed(self.bytes[name])
        self.bytes[name] = self.bytes[snapshot]

    def rm(self, name: str = "") -> None:
        name = name or self.any(NAMES)
        if name not in self.bytes or name in self.users:
            self.refused("volume.rm", name=name)
            return
        kept = str(self.call("volume.rm", name=name)["Name"])
        self.bytes[kept] = self.bytes.pop(name)

    def undo(self) -> None:
        removed = self.any(sorted(n for n in self.bytes if "@removed" in n))
        if not removed:
            return
        name = removed.partition("@")[0]
        if name in self.bytes:
            self.refused("volume.restore", name=removed)
        else:
            self.call("volume.restore", name=removed)
            self.bytes[name] = self.bytes.pop(removed)

    def rename(self) -> None:
        name, new = self.any(NAMES), self.any(NAMES)
        if name in self.bytes and new not in self.bytes and name not in self.users:
            self.call("volume.rename", name=name, new=new)
            self.bytes[new] = self.bytes.pop(name)
        else:
            self.refused("volume.rename", name=name, new=new)

    def move_as_archive(self) -> None:
        name, to = self.any(NAMES), self.any(NAMES)
        if name not in self.bytes or to in self.users:
            return
        archive = str(self.folder / "archive.tar.zst")
        self.agent.cli("volume", "export", "-o", archive, name)
        self.agent.cli("volume", "import", to, archive)
        if to in self.bytes:
            self.adopt_removed(self.bytes[to])
        self.bytes[to] = self.bytes[name]

    def use(self, name: str = "") -> None:
        name = name or self.any(NAMES)
        if name in self.bytes and name not in self.users:
            self.agent.cli("run", "-d", "--name", f"user-{name}", "-v", f"{name}:/d", *IDLE)
            self.users.add(name)

    def leave(self, name: str = "") -> None:
        name = name or self.any(NAMES)
        if name in self.users:
            self.agent.cli("rm", "-f", f"user-{name}")
            self.users.discard(name)

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
        with open_sync_client(self.agent.host) as client:
            rows = client.call_as(list[dict[str, object]], "volume.ls", {"all": True})
        return {str(row["Name"]) for row in rows}

    def look(self) -> list[dict[str, Any]]:
        with open_sync_client(self.agent.host) as client:
            names = sorted(self.bytes)
            return client.call_as(list[dict[str, Any]], "volume.inspect", {"names": names})

    def every_volume_has_its_bytes_and_there_is_no_other(self) -> None:
        assert self.names() == set(self.bytes)
        folders = {each.name for each in (self.agent.root / "volumes").iterdir()}
        assert folders == set(self.bytes)
        for found in self.look():
            name, wanted = found["Name"], self.bytes[found["Name"]]
            assert (found["Health"], len(found["Leases"])) == ("healthy", int(name in self.users))
            if found["Driver"] == "local":
                data = (Path(found["Mountpoint"]) / "file").read_bytes()
                assert digest(data) == wanted, name

    def teardown(self) -> None:
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


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(WALKS))
def test_walk(shared_agent: Agent, tmp_path: Path, seed: int) -> None:
    walk = Walk(shared_agent, tmp_path, seed)
    for _ in range(STEPS):
        walk.step()
        walk.every_volume_has_its_bytes_and_there_is_no_other()
    walk.teardown()

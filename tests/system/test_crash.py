"""kill -9 of the agent at many moments of each operation: nothing leaks, nobody else notices.

The moments are calls of the agent's own functions, spread evenly over the whole operation.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.system.harness.agent import Agent, open_agent
from tests.system.harness.images import build_tar
from tests.system.harness.leftovers import Snapshot
from tests.system.harness.namespace import open_namespace
from tests.system.harness.registry import Registry, open_registry

MOMENTS = 10  # for each of the operations
COMMITTED = "victim:v1"
DIE_S = 30.0
PORT = 8080
NEVER = 1 << 40


@dataclass(slots=True, kw_only=True)
class Scene:
    """An agent with a bystander that must not notice anything."""

    agent: Agent
    registry: Registry
    image: str
    bystander: int = 0
    empty: Snapshot | None = None
    calls: dict[str, int] = field(default_factory=dict)

    def begin(self) -> None:
        """Start the bystander."""
        self.agent.cli("network", "create", "demo")
        self.agent.cli("network", "create", "other")
        self.agent.cli("volume", "create", "page")
        write = ("sh", "-c", "echo still here > /www/index.html")
        self.agent.cli("run", "--rm", "-v", "page:/www", "busybox", *write)
        serve = ("busybox", "httpd", "-f", "-h", "/www")
        options = ("--name", "bystander", "--network", "demo", "-v", "page:/www")
        self.agent.cli("run", "-d", *options, "-p", f"{PORT}:80", *serve)
        self.bystander = self.agent.pid_of("bystander")

    def settle(self) -> None:
        """Begin a test: the agent runs, and what an earlier, failed test left is not ours."""
        if not self.agent.is_alive():
            self.agent.end_child()
            self.agent.start()
        self.agent.cli("rm", "-f", "-v", "victim", check=False)
        self.empty = self.agent.snapshot()

    def check_bystander(self) -> None:
        """Same process, same name, same port."""
        assert self.agent.pid_of("bystander") == self.bystander
        assert self.agent.space.fetch(f"http://127.0.0.1:{PORT}/") == "still here\n"
        fetch = ("wget", "-q", "-O", "-", "http://bystander/")
        assert self.agent.say("exec", "bystander", *fetch) == "still here"

    def has(self, noun: str, name: str) -> bool:
        return self.agent.cli(noun, "inspect", name, check=False).returncode == 0

    def clear(self) -> None:
        """Take away what the operation made, as a user would, and see that nothing is left."""
        if self.has("container", "victim"):
            self.agent.cli("rm", "-f", "-v", "victim")
        for name in victims(self.agent):
            self.agent.cli("volume", "rm", "--now", name)
        for image in (self.image, COMMITTED):
            if self.has("image", image):
                self.agent.cli("image", "rm", image)
        assert self.empty is not None
        self.agent.expect(self.empty)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What is interrupted, what must be there before, and what must hold after."""

    prepare: Callable[[Scene], object]
    command: Callable[[Scene], tuple[str, ...]]
    check: Callable[[Scene], object]


RUN = ("run", "-d", "--name", "victim", "--network", "demo", "-v", "/data", "-p", "8081:80")
MAKE_VOLUME = ("volume", "create", "--driver", "image", "--opt", "size=8m", "victim")
MAPPED = ("--userns", "auto", "--storage-opt", "size=24m")
IDLE = ("busybox", "tail", "-f", "/dev/null")


def nothing(scene: Scene) -> None:
    """Nothing has to be there."""


def is_whole_or_absent(scene: Scene) -> None:
    """A container that survived the crash can be used like any other."""
    if scene.has("container", "victim"):
        scene.agent.cli("start", "victim")
        assert scene.agent.say("exec", "victim", "echo", "well") == "well"


def connection_works_or_is_absent(scene: Scene) -> None:
    networks = scene.agent.inspect("container", "victim")["NetworkSettings"]["Networks"]
    assert set(networks) in ({"other"}, {"other", "demo"})
    if "demo" in networks:
        fetch = ("wget", "-q", "-O", "-", "http://bystander/")
        assert scene.agent.say("exec", "victim", *fetch) == "still here"


def image_is_whole_or_absent(scene: Scene) -> None:
    if scene.has("image", scene.image):
        assert scene.agent.say("run", "--rm", scene.image, "/bin/busybox", "cat", "/two") == "2"


def volume_is_whole_or_absent(scene: Scene) -> None:
    if scene.has("volume", "victim"):
        scene.agent.cli("run", "--rm", "-v", "victim:/d", "busybox", "touch", "/d/file")


def victims(agent: Agent) -> list[str]:
    """The volume, its snapshots and what it was."""
    names = [row["Name"] for row in agent.rows("volume", "--all")]
    return [name for name in names if name.startswith("victim")]


def write(scene: Scene, text: str) -> None:
    script = f"echo {text} > /d/file"
    scene.agent.cli("run", "--rm", "-v", "victim:/d", "busybox", "sh", "-c", script)


def reads(scene: Scene, *texts: str) -> None:
    """The volume and its snapshots have one of these, and no half of it."""
    for name in victims(scene.agent):
        if "@" in name:
            scene.agent.cli("volume", "clone", name, "look")
            name = "look"
        said = scene.agent.say("run", "--rm", "-v", f"{name}:/d", "busybox", "cat", "/d/file")
        assert said in texts
        if name == "look":
            scene.agent.cli("volume", "rm", "--now", "look")


def is_there_or_kept(scene: Scene) -> None:
    (name,) = victims(scene.agent)
    if "@" in name:
        scene.agent.cli("volume", "restore", name)
    reads(scene, "first")


def commit_is_whole_or_absent(scene: Scene) -> None:
    """What was frozen for it goes on."""
    assert scene.agent.inspect("container", "victim")["State"]["Status"] == "running"
    if scene.has("image", COMMITTED):
        assert scene.agent.say("run", "--rm", COMMITTED, "cat", "/etc/group").startswith("root")


OPERATIONS = {
    "run": Operation(
        prepare=nothing, command=lambda scene: (*RUN, *IDLE), check=is_whole_or_absent
    ),
    "rm": Operation(
        prepare=lambda scene: scene.agent.cli(*RUN, *IDLE),
        command=lambda scene: ("rm", "-f", "-v", "victim"),
        check=is_whole_or_absent,
    ),
    "run mapped": Operation(
        prepare=nothing, command=lambda scene: (*RUN, *MAPPED, *IDLE), check=is_whole_or_absent
    ),
    "rm mapped": Operation(
        prepare=lambda scene: scene.agent.cli(*RUN, *MAPPED, *IDLE),
        command=lambda scene: ("rm", "-f", "-v", "victim"),
        check=is_whole_or_absent,
    ),
    "run shareable": Operation(
        prepare=nothing,
        command=lambda scene: (*RUN, "--ipc", "shareable", *IDLE),
        check=is_whole_or_absent,
    ),
    "connect": Operation(
        prepare=lambda scene: scene.agent.cli(
            "run", "-d", "--name", "victim", "--network", "other", *IDLE
        ),
        command=lambda scene: ("network", "connect", "demo", "victim"),
        check=connection_works_or_is_absent,
    ),
    "commit": Operation(
        prepare=lambda scene: scene.agent.cli(*RUN, *IDLE),
        command=lambda scene: ("commit", "victim", COMMITTED),
        check=commit_is_whole_or_absent,
    ),
    "cp": Operation(
        prepare=lambda scene: scene.agent.cli("create", *RUN[2:], *IDLE),
        command=lambda scene: ("cp", "/bin/busybox", "victim:/copy"),
        check=is_whole_or_absent,
    ),
    "volume create": Operation(
        prepare=nothing, command=lambda scene: MAKE_VOLUME, check=volume_is_whole_or_absent
    ),
    "run on a mount": Operation(
        prepare=lambda scene: scene.agent.cli(*MAKE_VOLUME),
        command=lambda scene: (*RUN[:4], "-v", "victim:/d", *IDLE),
        check=lambda scene: (is_whole_or_absent(scene), volume_is_whole_or_absent(scene)),
    ),
    "rm of a mount": Operation(
        prepare=lambda scene: (
            scene.agent.cli(*MAKE_VOLUME),
            scene.agent.cli(*RUN[:4], "-v", "victim:/d", *IDLE),
        ),
        command=lambda scene: ("rm", "-f", "victim"),
        check=lambda scene: (is_whole_or_absent(scene), volume_is_whole_or_absent(scene)),
    ),
    "volume snapshot": Operation(
        prepare=lambda scene: (scene.agent.cli(*MAKE_VOLUME), write(scene, "first")),
        command=lambda scene: ("volume", "snapshot", "victim", "one"),
        check=lambda scene: reads(scene, "first"),
    ),
    "volume restore": Operation(
        prepare=lambda scene: (
            scene.agent.cli(*MAKE_VOLUME),
            write(scene, "first"),
            scene.agent.cli("volume", "snapshot", "victim", "one"),
            write(scene, "second"),
        ),
        command=lambda scene: ("volume", "restore", "victim@one"),
        check=lambda scene: reads(scene, "first", "second"),
    ),
    "volume rm": Operation(
        prepare=lambda scene: (scene.agent.cli(*MAKE_VOLUME), write(scene, "first")),
        command=lambda scene: ("volume", "rm", "victim"),
        check=is_there_or_kept,
    ),
    "pull": Operation(
        prepare=nothing,
        command=lambda scene: ("image", "pull", scene.image),
        check=image_is_whole_or_absent,
    ),
}


@pytest.fixture(scope="module")
def scene(busybox_tar: Path) -> Iterator[Scene]:
    with (
        open_namespace() as space,
        open_registry(space) as registry,
        open_agent(space, crashing=True) as agent,
    ):
        agent.cli("image", "import", str(busybox_tar), "busybox:latest")
        layers = [
            busybox_tar.read_bytes(),
            build_tar({"one": b"1" * 300_000}),
            build_tar({"two": b"2"}),
        ]
        registry.push("crash/image:v1", layers, Cmd=["sh"])
        made = Scene(agent=agent, registry=registry, image=f"{registry.address}/crash/image:v1")
        made.begin()
        yield made


def calls_of(scene: Scene, name: str) -> int:
    """How many calls the whole operation takes, counted once."""
    if name not in scene.calls:
        operation = OPERATIONS[name]
        operation.prepare(scene)
        scene.agent.arm(0)
        scene.agent.cli(*operation.command(scene))
        scene.calls[name] = scene.agent.count()
        scene.clear()
    return scene.calls[name]


def crash(scene: Scene, name: str, moment: int) -> str:
    """Let the agent die at one moment of the operation; return where."""
    total = calls_of(scene, name)
    operation = OPERATIONS[name]
    operation.prepare(scene)
    scene.agent.arm(1 + (total - 1) * moment // MOMENTS)
    scene.agent.cli(*operation.command(scene), check=False)
    assert scene.agent.wait_end(DIE_S) == -9
    return scene.agent.died_at()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("moment", range(MOMENTS))
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_agent_may_die_at_any_moment(scene: Scene, name: str, moment: int) -> None:
    scene.settle()
    place = crash(scene, name, moment)
    print(name, moment, place)
    scene.agent.start()
    scene.check_bystander()
    OPERATIONS[name].check(scene)
    scene.clear()
    scene.check_bystander()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("part", range(6))
def test_the_agent_may_die_again_while_it_recovers(scene: Scene, part: int) -> None:
    scene.settle()
    crash(scene, "run", MOMENTS // 2)
    scene.agent.start(crash_at=NEVER)
    total = scene.agent.count()
    scene.clear()
    scene.agent.kill()
    crashed = crash_recovery(scene, total * (part + 1) // 8)
    print("recovery", part, crashed)
    scene.check_bystander()
    is_whole_or_absent(scene)
    scene.clear()


def crash_recovery(scene: Scene, at: int) -> str:
    """Interrupt a run, then the recovery from it, then recover for good."""
    scene.agent.start()
    crash(scene, "run", MOMENTS // 2)
    scene.agent.start(crash_at=at, wait=False)
    assert scene.agent.wait_end(DIE_S) == -9
    place = scene.agent.died_at()
    scene.agent.start()
    return place

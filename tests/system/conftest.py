"""Fixtures of the system ring: real agents as hosts on this kernel."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.harness.agent import Agent, open_agent
from tests.system.harness.images import build_busybox
from tests.system.harness.namespace import Namespace, open_namespace
from tests.system.harness.registry import Registry, open_registry


@pytest.fixture(scope="session", autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.skip("the system ring needs root: namespaces, mounts, containers")


@pytest.fixture(scope="session")
def busybox_tar() -> Iterator[Path]:
    """A busybox root filesystem to import."""
    with tempfile.TemporaryDirectory(prefix="nt-busybox-") as top:
        path = Path(top) / "busybox.tar"
        path.write_bytes(build_busybox())
        yield path


@pytest.fixture
def space() -> Iterator[Namespace]:
    """A network namespace for one host."""
    with open_namespace() as made:
        yield made


@pytest.fixture
def make_agent(busybox_tar: Path) -> Iterator[Callable[..., Agent]]:
    """Start agents, each in a namespace of its own (or a given one), busybox imported."""
    with ExitStack() as stack:

        def make(
            space: Namespace | None = None, *, settings: str = "", crashing: bool = False
        ) -> Agent:
            place = space or stack.enter_context(open_namespace())
            agent = stack.enter_context(open_agent(place, settings=settings, crashing=crashing))
            agent.cli("image", "import", str(busybox_tar), "busybox:latest")
            return agent

        yield make


@pytest.fixture(scope="module")
def shared_agent(busybox_tar: Path) -> Iterator[Agent]:
    """One agent with ``busybox`` for all tests of a module that leave it as it was."""
    with open_namespace() as place, open_agent(place) as agent:
        agent.cli("image", "import", str(busybox_tar), "busybox:latest")
        yield agent


@pytest.fixture
def agent(make_agent: Callable[..., Agent]) -> Agent:
    """One agent with the image ``busybox``."""
    return make_agent()


@pytest.fixture
def registry(agent: Agent) -> Iterator[Registry]:
    """A registry on the loopback of the agent's namespace."""
    with open_registry(agent.space) as made:
        yield made


@pytest.fixture
def make_small(agent: Agent, tmp_path: Path) -> Iterator[Callable[[], Agent]]:
    """An agent beside ``agent``, in its namespace, whose data is on a loop device of 24 MiB."""
    with ExitStack() as stack:

        def make() -> Agent:
            settings = '[metrics]\nlisten = ""\n'
            return stack.enter_context(
                open_agent(agent.space, settings=settings, small_disk_bytes=24 << 20)
            )

        yield make

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from nodeagent.__main__ import main
from tests.fakes.agent import FakeAgent


@pytest.fixture
def agent_of(tmp_path) -> Iterator[Callable[..., FakeAgent]]:
    """Start a fake agent with these replies."""
    with ExitStack() as stack:
        yield lambda replies: stack.enter_context(FakeAgent(tmp_path / "sock", replies))


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def cli(capfd) -> Callable[..., Said]:
    """Run a command line in this process: exit code and what it printed."""

    def run(agent: FakeAgent | None, *argv: str) -> Said:
        host = ["--host", agent.host] if agent else []
        code = main([*host, *argv])
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return run

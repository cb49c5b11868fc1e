"""systemctl restart, and kill -9, where a service manager keeps the sockets.

The manager is ``tests/fakes/systemd.py``: a real socket and real descriptors, but not systemd.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.systemd import Systemd
from tests.system.harness.agent import Agent
from tests.system.harness.traffic import open_traffic

PORT = 8080
WITHIN_S = 10.0
TRY_S = 30.0  # a start takes a second, but many on a busy machine; what is lost never comes
SOCKETS_OF_WEB = 4  # names over udp and tcp, one port over both


@pytest.fixture
def kept(agent: Agent) -> Iterator[Agent]:
    """An agent under a service manager, with one container."""
    agent.stop()
    agent.systemd = Systemd(agent.base / "systemd")
    try:
        agent.start()
        agent.cli("network", "create", "demo")
        ports = ("-p", f"127.0.0.1:{PORT}:80", "-p", f"127.0.0.1:{PORT}:80/udp")
        serve = ("busybox", "httpd", "-f", "-p", "80")
        agent.cli("run", "-d", "--name", "web", "--network", "demo", *ports, *serve)
        yield agent
        agent.end_child()
    finally:
        agent.systemd.close()


def restart(agent: Agent) -> None:
    agent.stop()
    agent.start()


def crash(agent: Agent) -> None:
    agent.kill()
    agent.start()


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("way", "lost"), [(restart, 0), (crash, 1)])
def test_queries_and_ports_survive(kept: Agent, way: Callable[[Agent], None], lost: int) -> None:
    """Not names over TCP: a connection that was accepted ends with the process.

    A process that is killed may have read one query that it did not answer yet.
    """
    assert kept.systemd is not None
    web = kept.pid_of("web")
    names = kept.systemd.names()
    assert len(names) == SOCKETS_OF_WEB
    inside, host = Path(f"/proc/{web}/ns/net"), kept.space.path
    with ExitStack() as stack:
        clients = [
            stack.enter_context(open_traffic(*words, try_s=TRY_S))
            for words in (
                (inside, "udp", "web"),
                (host, "http", "127.0.0.1", str(PORT)),
                (host, "thief", "tcp", "127.0.0.1", str(PORT)),
                (host, "thief", "udp", "127.0.0.1", str(PORT)),
            )
        ]
        way(kept)
        assert kept.systemd.names() == names
        asked, *others = [client.report() for client in clients]
    print("worst try in ms:", asked["worst_ms"], [each["worst_ms"] for each in others])
    assert len(asked["failures"]) <= lost, asked
    assert [each["failures"] for each in others] == [[], [], []]
    assert kept.pid_of("web") == web


@pytest.mark.timeout(120)
def test_what_is_closed_is_thrown_out_and_what_is_of_no_use_too(kept: Agent) -> None:
    assert kept.systemd is not None
    kept.cli("run", "-d", "--name", "gone", "--network", "demo", "busybox", "sleep", "1000")
    kept.kill()
    names = [*kept.systemd.names(), "dns-udp/00"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stale, socket.socket() as useless:
        text = b"FDSTORE=1\nFDNAME=dns-udp/00\nFDPOLL=0"
        stale.connect(str(kept.systemd.path))
        socket.send_fds(stale, [text], [useless.fileno()])
        kept.systemd.wait_names(names, WITHIN_S)
    kept.start()
    kept.cli("rm", "-f", "gone", "web")
    kept.systemd.wait_names([], WITHIN_S)


@pytest.mark.timeout(120)
def test_an_agent_of_systemd_is_not_taken_over_by_hand(kept: Agent) -> None:
    by_hand = kept.begin_replace()
    try:
        assert by_hand.wait(WITHIN_S * 3) == 1
    finally:
        by_hand.end()
    assert "systemctl restart nodeagent" in kept.log_tail()
    kept.cli("system", "ping")

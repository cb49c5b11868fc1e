"""A takeover that fails: whoever dies, the containers are served on and nothing leaks.

Covers nodeagent/takeover/offer.py, nodeagent/takeover/claim.py.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.harness.agent import Agent, child_environment
from tests.system.harness.traffic import open_traffic

DIE_S = 60.0
MOMENTS = 6
FIRST, STEP = 58, 7  # per cent of the calls of a start; half of them are imports
OLD_DIES_AT = (3, 40, 120, 400)  # calls after it was asked; a whole hand-over is some 500
NEVER = 1 << 40
PORT = 8080
SERVE = ("busybox", "httpd", "-f", "-p", "80")
RESTART_S = 10.0


def begin(agent: Agent) -> Agent:
    """One container that is found by name and by port."""
    agent.cli("network", "create", "demo")
    port = ("-p", f"127.0.0.1:{PORT}:80")
    agent.cli("run", "-d", "--name", "web", "--network", "demo", *port, *SERVE)
    return agent


@pytest.fixture
def scene(make_agent: Callable[..., Agent]) -> Agent:
    return begin(make_agent(crashing=True))


def inside(agent: Agent) -> Path:
    return Path(f"/proc/{agent.pid_of('web')}/ns/net")


def check_served(agent: Agent) -> None:
    """RPC, a name, the port, and something that is changed."""
    words = ("-s", "-o", "/dev/null", "-m", "10", "-w", "%{http_code}")
    page = agent.space.run("curl", *words, f"http://127.0.0.1:{PORT}/")
    assert page.stdout == "404"
    assert "Address" in agent.say("exec", "web", "nslookup", "web", "127.0.0.11")
    agent.cli("run", "--rm", "-p", "127.0.0.1:8081:80", "busybox", "true")


@pytest.mark.timeout(600)
def test_the_new_one_dies_at_any_moment_before_its_word(scene: Agent) -> None:
    """No query is lost, and the old process goes on."""
    scene.replace(crash_at=NEVER)
    total = scene.count()
    pid, web = scene.pid, scene.pid_of("web")
    before = scene.snapshot()
    with open_traffic(inside(scene), "udp", "web") as asking:
        for moment in range(MOMENTS):
            successor = scene.begin_replace(crash_at=total * (FIRST + moment * STEP) // 100)
            status = successor.wait(DIE_S)
            successor.end()
            print(moment, status, scene.died_at())
            assert status == -9
            check_served(scene)
            assert (scene.pid, scene.pid_of("web")) == (pid, web)
        print("worst try in ms:", asking.expect_no_failure(tries=100))
    scene.expect(before)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("at", OLD_DIES_AT)
def test_the_old_one_dies_at_any_moment(scene: Agent, at: int) -> None:
    """The new one serves, with what it got, else as after a crash."""
    web = scene.pid_of("web")
    scene.arm(at)
    successor = scene.begin_replace()
    status = scene.wait_end(DIE_S)
    print(at, status, scene.died_at())
    scene.adopt(successor)
    check_served(scene)
    assert scene.pid_of("web") == web


@pytest.mark.timeout(180)
def test_what_cannot_take_over_leaves_the_old_one_untouched(agent: Agent) -> None:
    """A broken configuration, another root, a second one at the same time, a plain start."""
    begin(agent)
    pid = agent.pid
    wrong = agent.base / "wrong.toml"
    wrong.write_text("no_such_key = 1\n", encoding="utf-8")
    run = ("--run", str(agent.run_dir), "--takeover")
    with open_traffic(agent.space.path, "rpc", agent.host) as pinging:
        done = serve(agent, "--config", str(wrong), "--root", str(agent.root), *run)
        assert (done.returncode, "no_such_key" in done.stderr) == (2, True)
        done = serve(agent, "--config", str(agent.config), "--root", f"{agent.base}/other", *run)
        assert done.returncode == 1
        assert f"root is {agent.root}" in done.stderr
        plain = ("--root", str(agent.root), "--run", str(agent.run_dir))
        done = serve(agent, "--config", str(agent.config), *plain)
        assert done.returncode == 1
        assert "serve --takeover" in done.stderr
        pinging.expect_no_failure(tries=10)
    assert agent.pid == pid
    check_served(agent)
    check_one_of_two(agent)


def check_one_of_two(agent: Agent) -> None:
    """Two at the same time: one takes over (the other is told so, or takes over from it)."""
    both = [agent.begin_replace(), agent.begin_replace()]
    assert agent.wait_end(DIE_S) == 0
    ended = time.monotonic() + DIE_S
    while all(each.is_alive() for each in both) and time.monotonic() < ended:
        time.sleep(0.05)
    (lives,) = [each for each in both if each.is_alive()]
    for each in both:
        if each is not lives:
            assert each.wait(0) in {0, 1}
            each.end()
    agent.adopt_ready(lives)
    check_served(agent)


def serve(agent: Agent, *args: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "nodeagent", "serve", *args]
    return subprocess.run(
        agent.space.argv(*argv), capture_output=True, text=True, timeout=60, env=child_environment()
    )


@pytest.mark.timeout(180)
def test_takeover_of_nobody_is_a_start_and_a_killed_one_is_back_soon(agent: Agent) -> None:
    begin(agent)
    namespace = inside(agent)
    agent.kill()
    started = time.monotonic()
    agent.adopt(agent.begin_replace())
    with open_traffic(namespace, "udp", "web") as asking:
        print(f"answered again {time.monotonic() - started:.2f} s after kill -9 and start")
        asking.expect_no_failure(tries=0)
    assert time.monotonic() - started < RESTART_S
    check_served(agent)

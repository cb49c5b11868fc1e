"""The agent as a process: its flags, its lock, its metrics, its end.

Covers nodeagent/__main__.py, nodeagent/metrics/observed.py.
"""

import subprocess
import sys

from tests.system.harness.agent import Agent, child_environment


def serve(agent: Agent, *args: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "nodeagent", "serve", *args]
    return subprocess.run(
        agent.space.argv(*argv), capture_output=True, text=True, timeout=60, env=child_environment()
    )


def test_a_second_agent_on_one_root_is_refused(agent: Agent) -> None:
    done = serve(agent, "--root", str(agent.root), "--run", f"{agent.base}/other",
                 "--metrics-listen", "")  # fmt: skip
    assert done.returncode == 1
    assert "another agent" in done.stderr
    agent.cli("system", "ping")


def test_a_wrong_setting_names_its_line(agent: Agent) -> None:
    wrong = agent.base / "wrong.toml"
    wrong.write_text('[network]\n\nmtu_bytes = "big"\n', encoding="utf-8")
    done = serve(agent, "--config", str(wrong), "--root", f"{agent.base}/r2", "--run",
                 f"{agent.base}/n2")  # fmt: skip
    assert done.returncode == 2
    assert "wrong.toml:3" in done.stderr
    assert "mtu_bytes" in done.stderr


def test_sigterm_ends_it_cleanly_with_a_client_connected(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    argv = [sys.executable, "-m", "nodeagent", "--host", agent.host, "logs", "-f", "box"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        agent.cli("system", "ping")
        agent.stop()
        assert client.wait(timeout=10) == 1
    agent.start()
    assert agent.rows("container")[0]["Names"] == "box"


def test_metrics_and_health(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    text = agent.space.fetch("http://127.0.0.1:9323/metrics")
    assert 'nodeagent_containers{state="running"} 1' in text
    assert agent.space.fetch("http://127.0.0.1:9323/healthz")
    assert agent.space.fetch("http://127.0.0.1:9323/readyz")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")

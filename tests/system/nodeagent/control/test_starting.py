"""What a container finds around itself."""

from pathlib import Path

from tests.system.harness.agent import Agent

SLEEP = ("busybox", "sleep", "1000")


def test_a_missing_bind_source_is_refused_and_nothing_is_left(agent: Agent, tmp_path: Path) -> None:
    before = agent.snapshot()
    done = agent.cli("run", "--rm", "-v", f"{tmp_path}/no:/x", *SLEEP, check=False)
    assert done.returncode == 125
    assert "does not exist" in done.stderr
    assert agent.rows("container", "-a") == []
    agent.expect(before)


def test_binds_read_only_and_tmpfs(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from outside\n")
    agent.cli("run", "-d", "--name", "box", "-v", f"{tmp_path}:/in:ro", "--tmpfs", "/scratch",
              "--read-only", *SLEEP)  # fmt: skip
    assert agent.say("exec", "box", "cat", "/in/file") == "from outside"
    assert agent.cli("exec", "box", "touch", "/in/new", check=False).returncode == 1
    assert agent.cli("exec", "box", "touch", "/new", check=False).returncode == 1
    agent.cli("exec", "box", "touch", "/scratch/new")


def test_etc_and_environment(agent: Agent) -> None:
    agent.cli("network", "create", "demo")
    agent.cli("run", "-d", "--name", "box", "--hostname", "inner", "--network", "demo",
              "--add-host", "db:10.1.2.3", "-e", "A=b", *SLEEP)  # fmt: skip
    assert agent.say("exec", "box", "hostname") == "inner"
    assert "10.1.2.3\tdb" in agent.say("exec", "box", "cat", "/etc/hosts")
    assert "nameserver 127.0.0.11" in agent.say("exec", "box", "cat", "/etc/resolv.conf")
    assert agent.say("exec", "box", "sh", "-c", "echo $A $HOSTNAME") == "b inner"


def test_none_host_and_shared_networks(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "alone", "--network", "none", *SLEEP)
    assert agent.say("exec", "alone", "ls", "/sys/class/net") == "lo"
    agent.cli("run", "-d", "--name", "hosted", "--network", "host", *SLEEP)
    links = agent.space.run("ls", "/sys/class/net").stdout
    assert agent.say("exec", "hosted", "ip", "-o", "link").count("\n") + 1 >= 1, links
    agent.cli("run", "-d", "--name", "first", *SLEEP)
    agent.cli("run", "-d", "--name", "second", "--network", "container:first", *SLEEP)
    addresses = [
        agent.say("exec", name, "ip", "-o", "-4", "address") for name in ("first", "second")
    ]
    assert addresses[0] == addresses[1]
    assert agent.say("exec", "second", "hostname") == agent.say("exec", "first", "hostname")
    done = agent.cli("run", "--network", "container:first", "-p", "80:80", *SLEEP, check=False)
    assert "conflicts" in done.stderr


def test_a_user_by_name(agent: Agent) -> None:
    assert agent.say("run", "--rm", "-u", "nobody", "busybox", "id", "-u") == "65534"
    done = agent.cli("run", "--rm", "-u", "nosuch", "busybox", "id", check=False)
    assert done.returncode == 125
    assert "nosuch" in done.stderr

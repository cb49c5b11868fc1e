"""Run, exec and attach, with pipes and with a terminal.

Covers nodeagent/cli/session.py.
"""

import json
import os
import pty
import signal
import subprocess
import sys
import termios
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.agent import Failure

CREATED = {"id": "c0ffee", "name": "web", "warnings": []}
IMAGE = [{"Id": "sha256:1"}]
VIEW = {"Config": {"Tty": False, "OpenStdin": True}, "State": {"Running": True}}
PULLED = {"Id": "sha256:1", "IndexDigest": "", "ManifestDigest": "sha256:2"}


def _attach(*, out=b"", code=0):
    """Stand, wait for the start, write, end."""

    def attach(call):
        call.out(b"")
        if call.params["stdin"]:
            data = call.all_input()
            call.out(b"got " + data)
        call.out(out)
        call.out(b"oops\n", "stderr")
        return {"exit_code": code, "error": ""}

    return attach


def _replies(**more):
    return {
        "image.inspect": IMAGE,
        "container.create": CREATED,
        "container.start": {},
        "container.attach": _attach(out=b"hello\n", code=7),
        "container.inspect": [VIEW],
        **{name.replace("_", "."): value for name, value in more.items()},
    }


def test_detached_prints_the_id(agent_of, cli):
    agent = agent_of(_replies())
    said = cli(agent, "run", "-d", "--name", "web", "-p", "80", "busybox", "httpd", "-f")
    assert (said.code, said.out, said.err) == (0, "c0ffee\n", "")
    assert [name for name, _ in agent.calls] == [
        "image.inspect",
        "container.create",
        "container.start",
    ]
    assert agent.params_of("container.create")[0]["cmd"] == ["httpd", "-f"]


def test_foreground_attaches_before_it_starts(agent_of, cli):
    agent = agent_of(_replies())
    said = cli(agent, "run", "busybox")
    assert (said.code, said.out, said.err) == (7, "hello\n", "oops\n")
    assert [name for name, _ in agent.calls][-2:] == ["container.attach", "container.start"]
    assert agent.params_of("container.attach")[0] == {
        "name": "c0ffee",
        "stdin": False,
        "window": 64,
    }


@pytest.mark.parametrize("code", [126, 127])
def test_a_command_that_cannot_run(agent_of, cli, code):
    failure = Failure("invalid", "no such command: frob", exit_code=code)
    agent = agent_of(_replies(container_start=failure))
    said = cli(agent, "run", "busybox", "frob")
    assert (said.code, said.err) == (code, "nodeagent: no such command: frob\n")
    assert agent.running["container.attach"].cancelled.wait(5), "the attachment was left open"


def test_other_failures_of_run_are_125_and_of_create_1(agent_of, cli):
    agent = agent_of(
        _replies(container_create=Failure("conflict", "the name is taken", name="web"))
    )
    assert cli(agent, "run", "-d", "busybox").code == 125
    said = cli(agent, "create", "busybox")
    assert (said.code, said.err) == (1, "nodeagent: the name is taken\n")


def test_create_prints_the_id_and_warnings(agent_of, cli, tmp_path):
    agent = agent_of(_replies(container_create={**CREATED, "warnings": ["no swap limit"]}))
    said = cli(agent, "create", "--cidfile", str(tmp_path / "cid"), "busybox")
    assert (said.out, said.err) == ("c0ffee\n", "nodeagent: warning: no swap limit\n")
    assert (tmp_path / "cid").read_text() == "c0ffee"
    assert cli(agent, "create", "--cidfile", str(tmp_path / "cid"), "busybox").code == 125


def _pull(call):
    call.send({"layer": "a", "status": "Downloading", "current_bytes": 1, "total_bytes": 9})
    return PULLED


@pytest.mark.parametrize(
    ("policy", "is_here", "wanted"),
    [
        ("missing", True, ["image.inspect"]),
        ("missing", False, ["image.inspect", "image.pull"]),
        ("always", True, ["image.pull"]),
        ("never", False, []),
    ],
)
def test_pull_policy(agent_of, cli, policy, is_here, wanted):
    found = IMAGE if is_here else Failure("missing", "no image is called 'x'")
    agent = agent_of(_replies(image_inspect=found, image_pull=_pull))
    said = cli(agent, "run", "-d", "--pull", policy, "x")
    assert (said.code, said.out) == (0, "c0ffee\n")
    assert [name for name, _ in agent.calls if name.startswith("image.")] == wanted
    assert ("a: Downloading\n" in said.err) is ("image.pull" in wanted)


def test_a_mistake_makes_no_call(agent_of, cli):
    agent = agent_of(_replies())
    said = cli(agent, "run", "-m", "lots", "busybox")
    assert said.code == 125
    assert "--memory: 'lots' is not a size" in said.err
    assert "See 'nodeagent run --help'." in said.err
    assert agent.calls == []


def test_exec_gives_the_code_of_the_command(agent_of, cli):
    def run(call):
        call.out(b"")
        call.out(b"\xff\x00 bytes\n")
        return {"exit_code": 42, "error": ""}

    agent = agent_of({"container.exec": run})
    assert cli(agent, "exec", "-u", "app", "-w", "/srv", "-e", "A=1", "web", "ls", "-l").code == 42
    assert agent.params_of("container.exec")[0] | {"window": 0} == {
        "name": "web", "cmd": ["ls", "-l"], "env": ["A=1"], "working_dir": "/srv", "user": "app",
        "tty": False, "stdin": False, "privileged": False, "detach": False, "window": 0,
    }  # fmt: skip


def test_detached_exec_is_silent(agent_of, cli):
    agent = agent_of({"container.exec": {"exit_code": 0, "error": ""}})
    assert (cli(agent, "exec", "-d", "web", "sleep", "1").out, agent.calls[0][1]["detach"]) == (
        "",
        True,
    )


def test_exec_command_not_found(agent_of, cli):
    agent = agent_of({"container.exec": Failure("invalid", "frob: not found", exit_code=127)})
    assert cli(agent, "exec", "web", "frob").code == 127


def test_start_prints_names_and_goes_on(agent_of, cli):
    def start(call):
        return Failure("missing", "no a") if call.params["name"] == "a" else {}

    agent = agent_of({"container.start": start})
    said = cli(agent, "start", "a", "b")
    assert (said.code, said.out, said.err) == (1, "b\n", "nodeagent: no a\n")


def test_start_attached(agent_of, cli):
    said = cli(agent_of(_replies()), "start", "-a", "web")
    assert (said.code, said.out) == (7, "hello\n")


def test_attach_needs_a_running_container(agent_of, cli):
    agent = agent_of(_replies(container_inspect=[{**VIEW, "State": {"Running": False}}]))
    said = cli(agent, "attach", "web")
    assert (said.code, said.err) == (
        1,
        "nodeagent: web does not run; start it: nodeagent start -a web\n",
    )


def test_attach(agent_of, cli):
    assert cli(agent_of(_replies()), "attach", "--no-stdin", "web").out == "hello\n"


# --- as a process: input, signals, terminals ------------------------------------------------------

ROOT = Path(__file__).resolve().parents[4]
ENV = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}


def _start(agent, *argv, **how):
    return subprocess.Popen(
        [sys.executable, "-m", "nodeagent", "--host", agent.host, *argv], cwd=ROOT, env=ENV, **how
    )


def test_standard_input_is_passed_on_and_its_end_too(agent_of):
    agent = agent_of(_replies())
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with _start(agent, "run", "-i", "busybox", "cat", **pipes) as child:
        out, err = child.communicate(b"x" * 300_000, timeout=20)
    assert (len(out), out[:6], out[-6:], err) == (300_010, b"got xx", b"hello\n", b"oops\n")
    assert child.returncode == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_go_to_the_container(agent_of, number):
    ended = {}

    def attach(call):
        call.out(b"")
        ended["call"] = call
        call.out(b"up\n")
        call.input.get(timeout=10)
        return {"exit_code": 128 + number, "error": ""}

    def kill(call):
        ended["call"].input.put(None)
        return {}

    agent = agent_of(_replies(container_attach=attach, container_kill=kill))
    with _start(agent, "run", "busybox", stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"up\n"
        child.send_signal(number)
        assert child.wait(10) == 128 + number
    assert agent.params_of("container.kill") == [{"name": "c0ffee", "signal": str(int(number))}]


@contextmanager
def _terminal():
    master, slave = pty.openpty()
    try:
        yield master, slave
    finally:
        os.close(master)
        os.close(slave)


def _read_until(fd, wanted):
    data = b""
    while wanted not in data:
        data += os.read(fd, 1024)
    return data


def _shell(call):
    call.out(b"")
    call.out(b"$ ")
    while (piece := call.input.get(timeout=10)) is not None:
        call.out(b"<" + piece + b">")
    return {"exit_code": 0, "error": ""}


def test_a_terminal_is_raw_resized_left_by_keys_and_put_back(agent_of):
    agent = agent_of(_replies(container_attach=_shell))
    with _terminal() as (master, slave):
        termios.tcsetwinsize(master, (33, 99))
        before = termios.tcgetattr(slave)
        with _start(
            agent, "run", "-it", "busybox", stdin=slave, stdout=slave, stderr=slave
        ) as child:
            _read_until(master, b"$ ")
            os.write(master, b"\x03")  # Ctrl-C is the container's, not ours
            _read_until(master, b"<\x03>")
            assert agent.running["container.attach"].sizes[0] == (33, 99)
            termios.tcsetwinsize(master, (11, 22))
            child.send_signal(signal.SIGWINCH)
            os.write(master, b"\x10z")
            _read_until(master, b"z>")
            assert agent.running["container.attach"].sizes[-1] == (11, 22)
            os.write(master, b"\x10\x11")
            assert child.wait(10) == 0
        assert termios.tcgetattr(slave) == before
    assert agent.params_of("container.kill") == []


def test_a_terminal_is_put_back_after_a_signal(agent_of):
    agent = agent_of(_replies(container_attach=_shell))
    with _terminal() as (master, slave):
        before = termios.tcgetattr(slave)
        with _start(
            agent, "run", "-it", "busybox", stdin=slave, stdout=slave, stderr=slave
        ) as child:
            _read_until(master, b"$ ")
            child.send_signal(signal.SIGTERM)
            assert child.wait(10) == 128 + signal.SIGTERM
        assert termios.tcgetattr(slave) == before


def test_a_lost_agent_is_told(agent_of):
    def attach(call):
        call.out(b"")
        call._connection._sock.shutdown(2)

    agent = agent_of(_replies(container_attach=attach))
    with _start(agent, "run", "busybox", stderr=subprocess.PIPE) as child:
        _, err = child.communicate(timeout=10)
    assert child.returncode == 125
    assert b"connection" in err


def test_a_terminal_is_needed_for_it(agent_of):
    agent = agent_of(_replies())
    with _start(
        agent, "run", "-it", "busybox", stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as child:
        _, err = child.communicate(timeout=10)
    assert (child.returncode, agent.calls) == (1, [])
    assert b"not a TTY" in err


def test_a_reader_that_goes_away_is_no_error(agent_of):
    rows = [{"Name": f"v{n}", "Driver": "local", "Status": "ok"} for n in range(50_000)]
    agent = agent_of({"volume.ls": rows})
    with _start(agent, "volume", "ls", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.stdout.read(10)
        child.stdout.close()
        assert child.wait(10) == 141
        assert child.stderr.read() == b""


def test_json_is_read_back(agent_of, cli):
    assert json.loads(cli(agent_of(_replies()), "inspect", "web").out) == [VIEW]

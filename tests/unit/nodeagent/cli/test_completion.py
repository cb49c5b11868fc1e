import subprocess
from pathlib import Path

import pytest

from nodeagent.cli.completion import FILES, SCRIPTS, candidates

PACKAGING = Path(__file__).resolve().parents[4] / "packaging" / "completion"
NOWHERE = "unix:///nowhere"
LISTS = {
    "container.ls": [{"Names": "web"}, {"Names": "db"}],
    "image.ls": [
        {"Repository": "busybox", "Tag": "latest"},
        {"Repository": "<none>", "Tag": "<none>"},
    ],
    "network.ls": [{"Name": "demo"}],
    "volume.ls": [{"Name": "data"}],
}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["netw"], ["network"]),
        (["ru"], ["run"]),
        (["--ho"], ["--host"]),
        (["network", "cre"], ["create"]),
        (["--host", NOWHERE, "network", "pr"], ["prune"]),
        (["--tlskey", "/k", "--host", NOWHERE, "network", "pr"], ["prune"]),
        (["--tlskey=/k", "network", "pr"], ["prune"]),
        (["stop", ""], ["db", "web"]),
        (["stop", "web", "d"], ["db"]),
        (["container", "rm", "-f", "w"], ["web"]),
        (["stop", "--si"], ["--signal"]),
        (["run", "--net"], ["--network", "--network-alias"]),
        (["run", "--network", ""], ["demo"]),
        (["run", "--network=d"], ["--network=demo"]),
        (["run", "--pull", ""], ["always", "missing", "never"]),
        (["run", "--env-file", ""], [FILES]),
        (["run", "-d", "busy"], ["busybox:latest"]),
        (["run", "busybox", "-"], [FILES]),
        (["network", "connect", ""], ["demo"]),
        (["network", "connect", "demo", "w"], ["web"]),
        (["network", "connect", "demo", "web", ""], []),
        (["volume", "rm", ""], ["data"]),
        (["inspect", "d"], ["data", "db", "demo"]),
        (["completion", ""], ["bash", "zsh"]),
        (["frob", ""], []),
    ],
)
def test_candidates(agent_of, words, wanted):
    agent = agent_of(LISTS)
    words = [agent.host if word == NOWHERE else word for word in words]
    *before, begun = words
    assert candidates(before, begun, agent.host) == wanted


def test_no_agent_no_names_no_noise(cli):
    said = cli(None, "--host", NOWHERE, "__complete", "stop", "")
    assert (said.code, said.out, said.err) == (0, "", "")


@pytest.mark.parametrize(("shell", "name"), [("bash", "nodeagent.bash"), ("zsh", "_nodeagent")])
def test_packaged_files_are_what_the_command_prints(cli, shell, name):
    assert (PACKAGING / name).read_text() == SCRIPTS[shell] == cli(None, "completion", shell).out


def test_bash_completes(tmp_path):
    fake = tmp_path / "nodeagent"
    fake.write_text('#!/bin/sh\n[ "$1" = __complete ] && printf "%s\\n" "a b" "$3"\n')
    fake.chmod(0o755)
    script = f"""{SCRIPTS["bash"]}
COMP_WORDS=({fake} stop we); COMP_CWORD=2; _nodeagent; printf '%s|' "${{COMPREPLY[@]}}" """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "a b|we|"


def test_another_shell_is_refused(cli):
    assert cli(None, "completion", "fish").code == 125

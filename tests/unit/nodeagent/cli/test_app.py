import pytest

from nodeagent.cli import app

VERBS = sorted(app.every_verb(), key=lambda pair: pair[0])


@pytest.mark.parametrize(("path", "verb"), VERBS, ids=[path for path, _ in VERBS])
def test_each_verb_has_help_with_examples(cli, path, verb):
    said = cli(None, *path.split(), "--help")
    assert said.code == 0
    assert said.out.startswith(f"Usage:  nodeagent {path}")
    assert verb.help in said.out
    assert "Examples:\n  " in said.out
    names = [flag.name for flag in app.flags_of(verb)]
    shorts = [flag.short for flag in app.flags_of(verb) if flag.short]
    assert len(set(names)) == len(names)
    assert len(set(shorts)) == len(shorts)


def test_overview_names_everything(cli):
    said = cli(None, "--help")
    assert said.code == 0
    for name in (*app.TOP, *app.COMMANDS, "serve"):
        assert f"\n  {name} " in said.out


@pytest.mark.parametrize("noun", app.COMMANDS)
def test_a_noun_alone_lists_its_verbs(cli, noun):
    said = cli(None, noun)
    assert said.code == 0
    assert all(f"\n  {verb} " in said.out for verb in app.COMMANDS[noun])


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["frob"], 125, "'frob' is not a command\nSee 'nodeagent --help'."),
        (
            ["network", "frob"],
            125,
            "'network frob' is not a command\nSee 'nodeagent network --help'.",
        ),
        (["--frob"], 125, "unknown flag: --frob"),
        (["rm", "--frob", "x"], 125, "unknown flag: --frob\nSee 'nodeagent rm --help'."),
        (["rm"], 125, "requires at least 1 argument"),
        (["ps", "--host", "http://x:1"], 125, "write unix:///PATH"),
        (
            ["stop", "-t", "9" * 20, "web"],
            125,
            f"--time: '{'9' * 20}' is not within -9223372036854",
        ),
    ],
)
def test_mistakes(cli, argv, code, message):
    said = cli(None, *argv)
    assert (said.code, said.out) == (code, "")
    assert said.err.startswith("nodeagent: ")
    assert message in said.err


def test_a_word_that_is_no_text_is_named(agent_of, cli):
    agent = agent_of({"container.rm": {}})
    said = cli(agent, "rm", "fine", "caf\udce9")
    assert said.code == 125
    assert "'caf\\udce9' is not UTF-8" in said.err
    assert "host" not in said.err


@pytest.mark.parametrize(("verb", "code"), [("ps", 1), ("run", 125)])
def test_no_agent_is_told_with_the_way_out(cli, tmp_path, verb, code):
    host = f"unix://{tmp_path}/none.sock"
    said = cli(None, "--host", host, verb, *(["busybox"] if verb == "run" else []))
    assert said.code == code
    assert f"cannot connect to the agent at {host}" in said.err
    assert "systemctl start nodeagent" in said.err
    assert "nodeagent serve --config" in said.err


def test_where_the_agent_is(agent_of, cli, monkeypatch):
    agent = agent_of({"system.ping": {}})
    assert cli(None, "system", "ping", "--host", agent.host).out == "OK\n"
    monkeypatch.setenv("NODEAGENT_HOST", agent.host)
    assert cli(None, "system", "ping").out == "OK\n"
    assert cli(None, "--host=unix:///nowhere", "system", "ping").code == 1


@pytest.mark.parametrize("argv", [["--version"], ["-v"], ["version", "--client"]])
def test_version_needs_no_agent(cli, argv):
    assert cli(None, *argv).out.startswith("nodeagent ")


def test_help_as_a_word(cli):
    assert cli(None, "help", "network", "create").out.startswith("Usage:  nodeagent network create")
    assert cli(None).code == 1

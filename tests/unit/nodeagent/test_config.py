"""The configuration: defaults, overrides, and messages that name line and key.

Covers nodeagent/configlines.py
"""

import tomllib
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.config import Config, ConfigWrong, load_config, parse_config
from nodeagent.configlines import find_line

DOCUMENTED = Path(__file__).parents[3] / "packaging" / "nodeagent.toml"


def uncommented(text: str) -> str:
    """The file with its defaults switched on: prose begins with "# ", settings with "#"."""
    lines = []
    for line in text.splitlines():
        is_setting = line.startswith("#  {") or (line.startswith("#") and line[1:2] != " ")
        lines.append(line[1:] if is_setting else line)
    return "\n".join(lines)


def test_the_documented_file_lists_every_setting_with_its_default():
    table = tomllib.loads(uncommented(DOCUMENTED.read_text()))
    assert table == msgspec.json.decode(msgspec.json.encode(Config(), enc_hook=str))


def test_the_documented_file_as_it_is_changes_nothing():
    assert parse_config(DOCUMENTED.read_text(), name="x") == Config()


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        ("a = 1", 1, "a", "unknown key"),
        ("[log]\n\nlevle = 'info'", 3, "log.levle", "unknown key"),
        ("[logs]\nlevel = 'info'", 1, "logs", "unknown key"),
        ("[log]\nlevel = 'loud'", 2, "log.level", "expected one of debug, info, warning, error"),
        ("[log]\nlevel = 3", 2, "log.level", "Expected str, got int"),
        ("log.level = 3", 1, "log.level", "Expected str, got int"),
        ("root = 'relative'", 1, "root", "absolute path"),
        ("\nroot = 3", 2, "root", "Expected a path"),
        ("[rpc]\nmax_frame_bytes = 1", 2, "rpc.max_frame_bytes", ">= 4096"),
        ("[metrics]\nlisten = 'localhost'", 2, "metrics.listen", "HOST:PORT"),
        ("[metrics]\nlisten = '127.0.0.1:99999'", 2, "metrics.listen", "HOST:PORT"),
        ("[network]\nmtu_bytes = -1", 2, "network.mtu_bytes", ">= 0"),
        (
            "[network]\npools = [\n{ base = '10.0.0.0/8', size = 3 } ]",
            2,
            "network.pools[0].size",
            "8 or more",
        ),
        (
            "[[network.pools]]\nbase='10.0.0.0/8'\nsize=24\n[[network.pools]]\nsize=24\nbase='x'",
            6,
            "network.pools[1].base",
            "expected a network",
        ),
        (
            "[network]\ndefault_publish_address = ['public']",
            2,
            "network.default_publish_address[0]",
            '"private"',
        ),
        ("[network]\ndns_upstreams = ['dns']", 2, "network.dns_upstreams[0]", "an address"),
        ("[container]\ncgroup_parent = 'a/'", 2, "container.cgroup_parent", "names joined by /"),
        ("[container]\ncgroup_parent = 'a/../..'", 2, "container.cgroup_parent", "names joined"),
        ("[agent]\nid = 'UPPER'", 2, "agent.id", "matching regex"),
        ("[image]\nca_file = 'a.pem'", 2, "image.ca_file", "absolute path"),
        (
            "[image]\ncertificate_folders = ['/a', 'b']",
            2,
            "image.certificate_folders[1]",
            "absolute path",
        ),
        *(
            (f"[image]\nmirrors = ['https://ok.example/', '{bad}']", 2, "image.mirrors[1]", "HOST")
            for bad in (
                "mirror.example",
                "http://mirror.example",
                "https://m.example/v2",
                "https://m:65536",
                "https://u:p@m.example",
                "https://",
                "https://../x",
                "https://m.example?x=1",
            )
        ),
    ],
)
def test_a_mistake_is_told_with_file_line_key_and_what_is_expected(text, line, key, says):
    with pytest.raises(ConfigWrong) as caught:
        parse_config(text, name="/etc/f.toml")
    message = str(caught.value)
    assert message.startswith(f"/etc/f.toml:{line}: {key}: ")
    assert says in message
    assert caught.value.fields == {"file": "/etc/f.toml", "line": line, "key": key}


@pytest.mark.parametrize(("text", "line"), [("a = 1\nb = = 2\n", 2), ("a = 1\nb =", 2)])
def test_text_that_is_no_toml_names_the_line(text, line):
    with pytest.raises(ConfigWrong, match=f"^f:{line}: not TOML") as caught:
        parse_config(text, name="f")
    assert caught.value.fields["line"] == line


def test_flags_go_before_the_file(tmp_path):
    path = tmp_path / "f.toml"
    path.write_text("root = '/a'\nrun = '/b'\n[metrics]\nlisten = '127.0.0.1:1'\n")
    config = load_config(path, root=Path("/c"), metrics_listen="", log_level="DEBUG")
    assert (config.root, config.run) == (Path("/c"), Path("/b"))
    assert (config.metrics.listen, config.log.level) == ("", "debug")


def test_a_wrong_flag_is_told():
    with pytest.raises(ConfigWrong, match=r"flag: log\.level: .*expected one of debug"):
        load_config(None, log_level="loud")
    with pytest.raises(ConfigWrong, match=r"flag: metrics\.listen: "):
        load_config(None, metrics_listen="nowhere")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigWrong, match="cannot read"):
        load_config(tmp_path / "none.toml")


def test_two_roots_make_two_agents():
    one, other = (load_config(None, root=Path(p)) for p in ("/var/lib/a", "/var/lib/b"))
    assert one.agent_id != other.agent_id
    assert one.container.cgroup_parent != other.container.cgroup_parent
    assert one.agent_id == load_config(None, root=Path("/var/lib/a")).agent_id


@given(st.text(max_size=200))
def test_any_text_is_a_config_or_a_told_mistake(text):
    with suppress(ConfigWrong):
        assert isinstance(parse_config(text, name="f"), Config)


@given(st.text(max_size=100), st.text(max_size=20))
def test_a_line_is_always_found(text, key):
    assert 1 <= find_line(text, key) <= max(1, len(text.splitlines()))


def test_a_file_of_authorities_that_is_not_there_stops_the_start(tmp_path):
    text = f'[image]\n\nca_file = "{tmp_path}/absent.pem"\n'
    with pytest.raises(ConfigWrong, match=r"x\.toml:3: image\.ca_file"):
        parse_config(text, name="x.toml")
    (tmp_path / "absent.pem").write_text("", encoding="utf-8")
    assert parse_config(text, name="x.toml").image.ca_file.endswith("absent.pem")

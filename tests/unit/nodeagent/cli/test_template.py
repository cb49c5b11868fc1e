import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.cli.grammar import UsageError
from nodeagent.cli.template import compile_template

WEB = {
    "Id": "abc",
    "Name": "/web",
    "State": {"Pid": 7, "Running": True, "Error": ""},
    "Config": {"Env": ["A=1", "B=2"], "Labels": {"org.x": "y"}, "Entrypoint": None},
    "NetworkSettings": {
        "Networks": {"b": {"IPAddress": "10.0.0.2"}, "a": {"IPAddress": "10.0.0.1"}},
        "Ports": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]},
    },
}


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("plain", "plain"),
        ("{{.Id}}", "abc"),
        ("{{ .Id }}:{{- .Name -}}", "abc:/web"),
        (r"{{.Id}}\t{{.Name}}\n", "abc\t/web\n"),
        ("{{.State.Pid}}", "7"),
        ("{{.State.Running}}", "true"),
        ("{{.Config.Entrypoint}}", "<no value>"),
        ("{{.Config.Env}}", "[A=1 B=2]"),
        ("{{.Config.Labels}}", "map[org.x:y]"),
        ("{{json .Config.Env}}", '["A=1","B=2"]'),
        ("{{json .State}}", '{"Pid":7,"Running":true,"Error":""}'),
        ("{{len .Config.Env}}", "2"),
        ("{{upper .Id}}{{lower .Id}}", "ABCabc"),
        ('{{join .Config.Env ","}}', "A=1,B=2"),
        ('{{index .Config.Labels "org.x"}}', "y"),
        ('{{index .Config.Labels "none"}}', ""),
        ('{{index .NetworkSettings.Ports "80/tcp" 0 "HostPort"}}', "8080"),
        ("{{.NetworkSettings.Networks.a.IPAddress}}", "10.0.0.1"),
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", "10.0.0.1 10.0.0.2 "),
        ("{{range .Config.Env}}{{.}};{{end}}", "A=1;B=2;"),
        ("{{range .Config.Env}}{{println .}}{{$.Id}}{{end}}", "A=1\nabcB=2\nabc"),
        ("{{range .State.Error}}x{{else}}none{{end}}", "none"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .State.Error}}bad{{end}}", ""),
        ("{{if .Id}}{{range .Config.Env}}{{.}}{{end}}{{end}}", "A=1B=2"),
    ],
)
def test_render(source, wanted):
    assert compile_template(source)(WEB) == wanted


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{.Nope}}", "no field 'Nope' in .Nope; there are: Id, Name"),
        ("{{.Id.x}}", "no field 'x'"),
        ("{{}}", "empty"),
        ("{{.Id", "without '}}'"),
        ("{{end}}", "without range or if"),
        ("{{range .Config.Env}}", "without {{end}}"),
        ("{{if}}x{{end}}", "need a field"),
        ("{{range .State.Pid}}{{end}}", "neither list nor map"),
        ("{{frob .Id}}", "unknown function 'frob'; there are json"),
        ("{{Id}}", "begins with a dot"),
        ("{{len .State.Pid}}", "len cannot be used"),
        ("{{json .Id .Id}}", "json cannot be used"),
        ("{{index .Config.Env 9}}", "index cannot be used"),
    ],
)
def test_mistakes_are_named(source, message):
    with pytest.raises(UsageError) as caught:
        compile_template(source)(WEB)
    assert message in str(caught.value)
    assert str(caught.value).startswith("--format: ")


@given(st.text(alphabet='{}.Idjson" rangeif$', max_size=30))
def test_any_template_renders_or_is_a_usage_error(source):
    with contextlib.suppress(UsageError):
        assert isinstance(compile_template(source)(WEB), str)

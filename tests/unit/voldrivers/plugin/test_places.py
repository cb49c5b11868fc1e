import json
import socket

import pytest

from voldrivers.errors import Invalid
from voldrivers.plugin.places import Address, Tls, find


@pytest.fixture
def listen(tmp_path):
    sockets = []

    def listen_(path):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        sockets.append(socket.socket(socket.AF_UNIX))
        sockets[-1].bind(str(tmp_path / path))
        return str(tmp_path / path)

    yield listen_
    for each in sockets:
        each.close()


def test_in_dockers_order(tmp_path, listen):
    run, etc = tmp_path / "run", tmp_path / "etc"
    etc.mkdir()
    assert find("p", (run, etc)) is None
    (etc / "p.json").write_text(json.dumps({"Name": "p", "Addr": "https://host:1"}))
    assert find("p", (run, etc)) == Address(host="host", port=1, tls=Tls())
    (etc / "p.spec").write_text("tcp://host:2\n")
    assert find("p", (run, etc)) == Address(host="host", port=2)
    inner = listen("run/p/p.sock")
    assert find("p", (run, etc)) == Address(path=inner)
    outer = listen("run/p.sock")
    assert find("p", (run, etc)) == Address(path=outer)


def test_certificates(tmp_path):
    tls = {"InsecureSkipVerify": True, "CAFile": "/ca", "CertFile": "/c", "KeyFile": "/k"}
    (tmp_path / "p.json").write_text(json.dumps({"Addr": "tcp://[::1]:7", "TLSConfig": tls}))
    wanted = Tls(insecure_skip_verify=True, ca_file="/ca", cert_file="/c", key_file="/k")
    assert find("p", (tmp_path,)) == Address(host="::1", port=7, tls=wanted)


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "unix://relative", "tcp://host", "tcp://host:99999", "file:///x", "\xff"],
)
def test_a_file_that_names_no_address_is_named(tmp_path, text):
    (tmp_path / "p.spec").write_text(text, encoding="latin-1")
    with pytest.raises(Invalid, match=r"p\.spec"):
        find("p", (tmp_path,))
    (tmp_path / "q.json").write_text(text, encoding="latin-1")
    with pytest.raises(Invalid, match=r"q\.json"):
        find("q", (tmp_path,))


@pytest.mark.parametrize("name", ["../p", "", ".p", "p/q", "p" * 65])
def test_no_name_leads_out(tmp_path, name):
    (tmp_path / "inner").mkdir()
    (tmp_path / "p.spec").write_text("tcp://host:1")
    assert find(name, (tmp_path / "inner",)) is None


def test_a_file_in_the_place_of_a_socket_is_none(tmp_path):
    (tmp_path / "p.sock").write_text("x")
    assert find("p", (tmp_path,)) is None

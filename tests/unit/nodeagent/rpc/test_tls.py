"""A program's certificate is found, and what is wrong with it is named."""

import ssl
import time

import pytest

from nodeagent.cluster import ca
from nodeagent.rpc.errors import ConnectionLost
from nodeagent.rpc.tls import TlsFiles, find_files, open_context

AUTHORITY = ca.create_ca("c1", now=time.time())


@pytest.fixture
def files(tmp_path):
    pair = ca.issue(AUTHORITY, ca.Bearer(name="client-x", role="reader"), now=time.time())
    for name, data in (
        ("ca.pem", AUTHORITY.certificate), ("cert.pem", pair.certificate), ("key.pem", pair.key)
    ):  # fmt: skip
        (tmp_path / name).write_bytes(data)
    return find_files({"NODEAGENT_CERT_PATH": str(tmp_path)})


def test_files_are_found_by_folder_and_each_by_its_own_variable(files, tmp_path):
    assert files.key == tmp_path / "key.pem"
    other = find_files({"NODEAGENT_CERT_PATH": "/a", "NODEAGENT_TLS_KEY": "/b/k"})
    assert [str(each) for each in (other.authority, other.certificate, other.key)] == [
        "/a/ca.pem", "/a/cert.pem", "/b/k"
    ]  # fmt: skip
    assert find_files({"HOME": "/x"}).authority.parts[-3:] == (".config", "nodeagent", "ca.pem")


def test_a_good_one_speaks_no_old_protocol(files):
    context = open_context(files)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem"])
def test_a_file_that_is_missing_is_named_and_how_to_make_it(files, tmp_path, name):
    (tmp_path / name).unlink()
    with pytest.raises(ConnectionLost, match=rf"{name}: make it by `nodeagent cluster cert"):
        open_context(files)


@pytest.mark.parametrize(("wrong", "named"), [("authority", "ca.pem"), ("certificate", "cert.pem")])
def test_a_file_that_is_no_pem_is_named(files, tmp_path, wrong, named):
    (tmp_path / named).write_bytes(b"nonsense")
    with pytest.raises(ConnectionLost, match=rf"{named} is no PEM"):
        open_context(files)


def test_another_s_key_is_told(files, tmp_path):
    other = ca.issue(AUTHORITY, ca.Bearer(name="client-y", role="reader"), now=time.time())
    (tmp_path / "other.pem").write_bytes(other.key)
    mixed = TlsFiles(
        authority=files.authority, certificate=files.certificate, key=tmp_path / "other.pem"
    )
    with pytest.raises(ConnectionLost, match=r"cert\.pem is no PEM, or not for its key"):
        open_context(mixed)

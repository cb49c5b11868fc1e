"""Certificates of the cluster's authority, looked at by OpenSSL as well."""

import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.cluster import ca
from nodeagent.errors import Invalid, Refused

NOW = 1_790_000_000.0
DAY_S = 86400
AUTHORITY = ca.create_ca("c0ffee" * 4, now=NOW)
OTHER = ca.create_ca("c0ffee" * 4, now=NOW)
NODE = ca.Bearer(name="worker-17", role="worker", hosts=("192.0.2.1", "2001:db8::1", "node.test"))


def test_a_certificate_says_who_and_in_which_role():
    pair = ca.issue(AUTHORITY, NODE, now=NOW)
    found = ca.read_identity(pair.certificate)
    assert (found.name, found.role, found.cluster) == ("worker-17", "worker", "c0ffee" * 4)
    assert 89 * DAY_S < found.not_after.timestamp() - NOW <= 90 * DAY_S


@pytest.mark.parametrize(
    ("at", "authority", "purpose", "good"),
    [
        (NOW, AUTHORITY, "sslclient", True),
        (NOW, AUTHORITY, "sslserver", True),
        (NOW - 1800, AUTHORITY, "sslserver", True),  # a clock that is slow
        (NOW, OTHER, "sslclient", False),
        (NOW + 91 * DAY_S, AUTHORITY, "sslclient", False),
        (NOW - 2 * 3600, AUTHORITY, "sslclient", False),
    ],
)
def test_openssl_agrees(tmp_path, at, authority, purpose, good):
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    (tmp_path / "node.crt").write_bytes(ca.issue(AUTHORITY, NODE, now=NOW).certificate)
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-attime", str(int(at)), "-purpose", purpose,
         "-verify_ip", "192.0.2.1", "-CAfile", tmp_path / "ca.crt", tmp_path / "node.crt"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) == good, done.stderr


def test_the_request_says_nothing_of_name_or_role():
    request, _ = ca.create_request("manager-1")
    signed = ca.sign_request(AUTHORITY, request, NODE, now=NOW)
    assert ca.read_identity(signed).name == "worker-17"


@given(st.binary(max_size=200))
def test_what_is_no_request_is_refused(data):
    with pytest.raises(Invalid, match="request"):
        ca.sign_request(AUTHORITY, data, NODE, now=NOW)


def test_a_request_that_was_changed_is_refused():
    request, _ = ca.create_request("worker-17")
    der = bytearray(x509.load_pem_x509_csr(request).public_bytes(Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    with pytest.raises(Invalid):
        ca.sign_request(AUTHORITY, forged, NODE, now=NOW)


def test_renewal_is_due_after_two_thirds():
    pair = ca.issue(AUTHORITY, NODE, now=NOW)
    assert not ca.is_due(pair.certificate, now=NOW + 59 * DAY_S)
    assert ca.is_due(pair.certificate, now=NOW + 61 * DAY_S)


def test_a_token_finds_its_authority_in_a_bundle():
    bundle = ca.join_bundle([OTHER.certificate, AUTHORITY.certificate, OTHER.certificate])
    assert ca.pick_ca(bundle, ca.ca_digest(AUTHORITY.certificate)) == AUTHORITY.certificate
    for wrong, digest in ((OTHER.certificate, ca.ca_digest(AUTHORITY.certificate)), (b"x", "00")):
        with pytest.raises(Refused):
            ca.pick_ca(wrong, digest)


def test_a_certificate_of_another_authority_is_told_apart():
    signed = ca.issue(AUTHORITY, NODE, now=NOW).certificate
    ca.check_signed(AUTHORITY.certificate, signed)
    with pytest.raises(Refused):
        ca.check_signed(OTHER.certificate, signed)


def test_a_role_that_is_not_ours_is_refused():
    with pytest.raises(Refused, match="role"):
        ca.read_identity(AUTHORITY.certificate)


def test_only_a_manager_may_answer_for_the_cluster():
    here = ca.Bearer(name="manager-1", role="manager", hosts=("192.0.2.1",))
    good = ca.issue(AUTHORITY, here, now=NOW).certificate
    both = ca.join_bundle([OTHER.certificate, AUTHORITY.certificate])
    for trusted in (AUTHORITY.certificate, both):
        ca.check_manager(trusted, good, now=NOW)
    wrong = [
        (AUTHORITY.certificate, ca.issue(AUTHORITY, NODE, now=NOW).certificate, NOW),
        (OTHER.certificate, good, NOW),
        (AUTHORITY.certificate, good, NOW + 91 * DAY_S),
        (AUTHORITY.certificate, good, NOW - 2 * 3600),
    ]
    for trusted, certificate, at in wrong:
        with pytest.raises(Refused):
            ca.check_manager(trusted, certificate, now=at)


def test_a_program_s_certificate_serves_nobody(tmp_path):
    (tmp_path / "ca.crt").write_bytes(AUTHORITY.certificate)
    program = ca.issue(AUTHORITY, ca.Bearer(name="client-x", role="admin"), now=NOW)
    (tmp_path / "x.crt").write_bytes(program.certificate)
    for purpose, good in (("sslclient", True), ("sslserver", False)):
        done = subprocess.run(
            ["openssl", "verify", "-attime", str(int(NOW)), "-purpose", purpose,
             "-CAfile", tmp_path / "ca.crt", tmp_path / "x.crt"],
            capture_output=True, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) == good, done.stderr


def test_who_signed_is_found_among_several():
    both = ca.join_bundle([OTHER.certificate, AUTHORITY.certificate])
    assert ca.digests_of(both) == sorted(
        [ca.ca_digest(OTHER.certificate), ca.ca_digest(AUTHORITY.certificate)]
    )
    pair = ca.issue(AUTHORITY, ca.Bearer(name="worker-1", role="worker"), now=NOW)
    assert ca.signer_of(both, pair.certificate) == ca.ca_digest(AUTHORITY.certificate)
    assert ca.signer_of(OTHER.certificate, pair.certificate) == ""

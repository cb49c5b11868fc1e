"""Docker's name grammar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import errors
from runtime.image.reference import is_digest, parse_reference

D = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "domain", "path", "tag", "digest", "familiar"),
    [
        ("busybox", "docker.io", "library/busybox", "latest", "", "busybox:latest"),
        ("busybox:1.36", "docker.io", "library/busybox", "1.36", "", "busybox:1.36"),
        ("docker.io/busybox", "docker.io", "library/busybox", "latest", "", "busybox:latest"),
        ("index.docker.io/a/b", "docker.io", "a/b", "latest", "", "a/b:latest"),
        ("docker.io/library/a/b", "docker.io", "library/a/b", "latest", "", "library/a/b:latest"),
        ("a/b", "docker.io", "a/b", "latest", "", "a/b:latest"),
        ("localhost/b", "localhost", "b", "latest", "", "localhost/b:latest"),
        ("localhost:5000/x:t", "localhost:5000", "x", "t", "", "localhost:5000/x:t"),
        ("127.0.0.1:1/a/b/c", "127.0.0.1:1", "a/b/c", "latest", "", "127.0.0.1:1/a/b/c:latest"),
        ("[::1]:5000/x", "[::1]:5000", "x", "latest", "", "[::1]:5000/x:latest"),
        ("h.io/a/b_c__d-e.f", "h.io", "a/b_c__d-e.f", "latest", "", "h.io/a/b_c__d-e.f:latest"),
        ("Host/x", "Host", "x", "latest", "", "Host/x:latest"),
        (f"busybox@{D}", "docker.io", "library/busybox", "", D, ""),
        (f"busybox:1@{D}", "docker.io", "library/busybox", "1", D, "busybox:1"),
        ("foo:5000", "docker.io", "library/foo", "5000", "", "foo:5000"),
    ],
)  # fmt: skip
def test_forms(text, domain, path, tag, digest, familiar):
    ref = parse_reference(text)
    assert (ref.domain, ref.path, ref.tag, ref.digest, ref.repo_tag) == (
        domain, path, tag, digest, familiar,
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", " ", "UPPER", "a/B", "a:", ":a", "a@", "a@sha256:12", "-a", "a-", "a..b", "a___b", "a//b",
     "/a", "a/", "a:b:c", "a b", "a\n", "../a", "a/../b", "a:" + "x" * 129, "ab" * 32, "x" * 256,
     "host.com/", "host.com:x/a", "a@md5:00", "é", "localhost", "a:.b"],
)  # fmt: skip
def test_refused(text):
    if text == "localhost":
        assert parse_reference(text).path == "library/localhost"
        return
    with pytest.raises(errors.Invalid):
        parse_reference(text)


def test_capitals_are_named_as_the_reason():
    with pytest.raises(errors.Invalid, match="must be lowercase"):
        parse_reference("docker.io/BusyBox")


@given(st.from_regex(r"\A([a-z0-9.:-]{1,9}/)?[a-z0-9_.-]{1,9}(/[a-z0-9]{1,5})?(:[\w.]{1,9})?\Z"))
def test_the_familiar_form_means_the_same(text):
    try:
        ref = parse_reference(text)
    except errors.Invalid:
        return
    assert parse_reference(ref.repo_tag) == ref


@given(st.text(max_size=40))
def test_any_text_is_a_name_or_invalid(text):
    try:
        ref = parse_reference(text)
    except errors.Invalid:
        return
    assert ".." not in ref.path.split("/")
    assert ref.path == ref.path.lower()


def test_repo_digest():
    assert parse_reference("busybox:1").repo_digest(D) == f"busybox@{D}"


@pytest.mark.parametrize(
    "text", ["sha256:" + "g" * 64, "sha256:ab", "ab" * 32, D + "\n", D.upper()]
)
def test_digests(text):
    assert is_digest(D)
    assert not is_digest(text)

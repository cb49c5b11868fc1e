"""Challenges and tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import errors
from runtime.image.auth import Challenge, Credentials, parse_challenge, parse_token


def test_docker_hub():
    challenge = parse_challenge(
        'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
        'scope="repository:library/busybox:pull"'
    )
    assert challenge.token_url([]) == (
        "https://auth.docker.io/token?service=registry.docker.io"
        "&scope=repository%3Alibrary%2Fbusybox%3Apull"
    )


def test_scope_of_ours_if_it_names_none():
    challenge = parse_challenge("bearer realm=https://a/t?x=1")
    assert challenge.token_url(["repository:a:pull"]) == (
        "https://a/t?x=1&scope=repository%3Aa%3Apull"
    )


def test_scopes_of_ours_are_added_to_the_one_it_names():
    challenge = Challenge(scheme="bearer", realm="https://a/t", scope="a:b:pull")
    url = challenge.token_url(["a:b:pull", "a:b:pull,push", "c:d:pull"])
    assert url.partition("?")[2] == (
        "scope=a%3Ab%3Apull&scope=a%3Ab%3Apull%2Cpush&scope=c%3Ad%3Apull"
    )


def test_bearer_wins_over_basic():
    both = 'Basic realm="b", Bearer realm="https://t",service="s"'
    assert parse_challenge(both) == Challenge(scheme="bearer", realm="https://t", service="s")
    assert parse_challenge('Basic realm="x"').scheme == "basic"


@pytest.mark.parametrize(
    "header", ["", "Digest realm=x", "Bearer", 'Bearer service="x"', "Bearerx"]
)
def test_no_challenge_for_us(header):
    assert parse_challenge(header) is None


@given(st.text(max_size=100))
def test_any_header(text):
    parse_challenge(f"Bearer {text}")


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"token":1}', b'{"token":""}', b'{"token":"a\\r\\nX: y"}',
     b'{"token":"a b"}'],
)  # fmt: skip
def test_bad_tokens(body):
    with pytest.raises(errors.Refused):
        parse_token(body)


def test_token_forms():
    assert parse_token(b'{"token":"t","expires_in":300}') == "Bearer t"
    assert parse_token(b'{"access_token":"a"}') == "Bearer a"


def test_basic():
    assert Credentials(user="Aladdin", password="open sesame").header() == (
        "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    )

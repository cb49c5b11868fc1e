"""Join tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.cluster.tokens import Token, hash_secret, parse_token, role_of
from nodeagent.errors import Invalid, Refused

TOKEN = Token(digest="ab" * 32, secret="cd" * 16)
KEPT = {"worker": hash_secret("cd" * 16), "manager": hash_secret("ef" * 16)}


def test_a_token_is_read_as_it_was_written():
    assert parse_token(f" {TOKEN}\n") == TOKEN


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "as `cluster token` prints it"),
        ("SWMTKN-1-a-b", "as `cluster token` prints it"),
        (f"NAT-2-{'ab' * 32}-{'cd' * 16}", "version 2"),
        (f"NAT-1-{'ab' * 31}-{'cd' * 16}", "digest"),
        (f"NAT-1-{'ab' * 32}-{'cd' * 15}", "copied whole"),
        (f"NAT-1-{'AB' * 32}-{'cd' * 16}", "digest"),
    ],
)
def test_what_is_wrong_is_said(text, why):
    with pytest.raises(Invalid, match=why):
        parse_token(text)


@given(st.text(max_size=120))
def test_any_text_is_a_token_or_invalid(text):
    try:
        parse_token(text)
    except Invalid:
        return


def test_a_secret_admits_to_its_role_and_no_other_does():
    assert role_of("cd" * 16, KEPT) == "worker"
    assert role_of("ef" * 16, KEPT) == "manager"
    with pytest.raises(Refused, match="rotated"):
        role_of("00" * 16, KEPT)

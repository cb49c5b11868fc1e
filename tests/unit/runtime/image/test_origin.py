"""URLs, and who may be asked without TLS."""

import pytest

from runtime import errors
from runtime.image.origin import Origin, check_clear, is_loopback, split_url


def test_split():
    origin, target = split_url("https://Example.com/v2/a?b=c#d")
    assert (origin, target) == (Origin(scheme="https", host="example.com", port=443), "/v2/a?b=c")
    assert split_url("http://[::1]:5000")[0].netloc == "[::1]:5000"
    assert split_url("http://h:80/")[0].url == "http://h"


@pytest.mark.parametrize(
    "url",
    ["", "ftp://a/", "file:///etc/passwd", "https://", "https://u:p@h/", "http://h:99999/", "//h"],
)
def test_refused(url):
    with pytest.raises(errors.Refused):
        split_url(url)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True),
        ("localhost.example.com", False), ("10.0.0.1", False),
        ("0.0.0.0", False), ("2130706433", False),
    ],
)  # fmt: skip
def test_loopback(host, loopback):
    assert is_loopback(Origin(scheme="http", host=host, port=80)) is loopback


@pytest.mark.parametrize(
    ("url", "led_by", "fine"),
    [
        ("https://cdn.example/", "https://registry.example/", True),
        ("https://127.0.0.1/", "https://registry.example/", True),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000/", True),
        ("http://[::1]:80/", "https://localhost/", True),
        ("http://127.0.0.1:9323/", "https://registry.example/", False),
        ("http://registry.example/", "https://registry.example/", False),
        ("http://registry.example/", "http://127.0.0.1/", False),
    ],
)
def test_who_is_asked_without_tls(url, led_by, fine):
    whom, leads = split_url(url)[0], split_url(led_by)[0]
    if fine:
        check_clear(whom, leads)
        return
    with pytest.raises(errors.Refused, match=leads.host):
        check_clear(whom, leads)

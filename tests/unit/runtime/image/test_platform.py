"""Which entry of a manifest list a host takes."""

import pytest

from runtime import errors
from runtime.image.platform import Platform, best_match, fits, host_platform, parse_platform


def p(text: str) -> Platform:
    return Platform(**dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False)))


@pytest.mark.parametrize(
    ("want", "offered", "chosen"),
    [
        ("linux/amd64", "linux/arm64 linux/amd64", 1),
        ("linux/amd64", "linux/amd64/v3 linux/amd64/v2", None),
        ("linux/amd64", "linux/amd64/v2 linux/amd64", 1),
        ("linux/amd64/v3", "linux/amd64 linux/amd64/v2 linux/amd64/v4", 1),
        ("linux/amd64", "windows/amd64", None),
        ("linux/arm64", "linux/arm/v7 linux/arm64/v8", 1),
        ("linux/arm64/v8", "linux/arm64", 0),
        ("linux/arm64/v8", "linux/arm64/v9", None),
        ("linux/arm/v7", "linux/arm/v5 linux/arm/v6 linux/arm64/v8", 1),
        ("linux/arm/v7", "linux/arm/v6 linux/arm/v7", 1),
        ("linux/arm/v6", "linux/arm/v7", None),
        ("linux/arm/v6", "linux/arm", None),
        ("linux/amd64", "linux/amd64 linux/amd64", 0),
        ("linux/amd64", "unknown/unknown linux/amd64/odd", None),
        ("linux/amd64/odd", "linux/amd64/odd", 0),
    ],
)
def test_best_match(want, offered, chosen):
    assert best_match(p(want), [p(one) for one in offered.split()]) == chosen


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("", "linux/amd64"), ("linux", "linux/amd64"), ("arm64", "linux/arm64"),
        ("linux/arm64", "linux/arm64"), ("linux/aarch64", "linux/arm64/v8"),
        ("linux/arm/v6", "linux/arm/v6"), ("Linux/AMD64", "linux/amd64"), ("x86_64", "linux/amd64"),
        ("linux/armhf", "linux/arm/v7"),
    ],
)  # fmt: skip
def test_parse(text, platform):
    assert str(parse_platform(text, p("linux/amd64"))) == platform


@pytest.mark.parametrize("text", ["/", "linux/", "a/b/c/d", "linux/../x", "linux/é", "a b"])
def test_parse_refuses(text):
    with pytest.raises(errors.Invalid):
        parse_platform(text, p("linux/amd64"))


def test_host():
    assert host_platform().os == "linux"
    assert fits(host_platform(), host_platform())

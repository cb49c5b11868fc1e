import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.cli.grammar import UsageError
from nodeagent.cli.publish import parse_expose, parse_publish


def _b(port, host=0, protocol="tcp", ip=""):
    binding = {"container_port": port, "protocol": protocol, "host_port": host}
    return binding | ({"host_ip": ip} if ip else {})


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("80", [_b(80)]),
        ("80/udp", [_b(80, protocol="udp")]),
        ("8080:80", [_b(80, 8080)]),
        ("8080:80/UDP", [_b(80, 8080, "udp")]),
        ("127.0.0.1:8080:80", [_b(80, 8080, ip="127.0.0.1")]),
        ("127.0.0.1::80", [_b(80, ip="127.0.0.1")]),
        ("[::1]:8080:80/sctp", [_b(80, 8080, "sctp", "::1")]),
        ("[::]::53/udp", [_b(53, protocol="udp", ip="::")]),
        ("0.0.0.0:8080:80", [_b(80, 8080, ip="0.0.0.0")]),
        (":80", [_b(80)]),
        ("8000-8002:80-82", [_b(80, 8000), _b(81, 8001), _b(82, 8002)]),
        ("80-81", [_b(80), _b(81)]),
        ("8000-8010:80", [_b(80, 8000) | {"host_port_end": 8010}]),
        ("[::1]:8000-8001:80/udp", [_b(80, 8000, "udp", "::1") | {"host_port_end": 8001}]),
        ("8000-8000:80", [_b(80, 8000)]),
        ("0:80", [_b(80)]),
        ("::1:8080:80", [_b(80, 8080, ip="::1")]),
        ("published=8080,target=80", [_b(80, 8080)]),
        ("target=53,protocol=udp", [_b(53, protocol="udp")]),
        ("10.0.0.1:1-2:3-4/udp", [_b(3, 1, "udp", "10.0.0.1"), _b(4, 2, "udp", "10.0.0.1")]),
    ],
)
def test_publish(words, wanted):
    assert parse_publish(words) == wanted


@pytest.mark.parametrize(
    "words",
    ["", "a", "80:", "0", "65536", "8000-8010:80-81", "80:80-81", "90-80", "80/http", "80/",
     "[]:80:80", "[fe80::1%eth0]:80:80", "published=80", "target=80,mode=host", "target=80,x",
     "0-1:80-81", "name:80:80", "1.2.3:80:80", "1.2.3.4.5:80:80", "-1:80", "80:-80", "80-:80",
     "1:2:3:4", "²:80", "[1.2.3.4:80:80"],
)  # fmt: skip
def test_bad_publish_names_the_flag(words):
    with pytest.raises(UsageError, match=r"^--publish: "):
        parse_publish(words)


@given(st.text(alphabet="0123456789:-/[].tcpudabf", max_size=24))
def test_any_text_is_bindings_or_a_usage_error(words):
    try:
        bindings = parse_publish(words)
    except UsageError:
        return
    assert bindings
    assert all(1 <= b["container_port"] <= 65535 and 0 <= b["host_port"] <= 65535 for b in bindings)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("80", ["80/tcp"]), ("53/udp", ["53/udp"]), ("80-82", ["80/tcp", "81/tcp", "82/tcp"])],
)
def test_expose(words, wanted):
    assert parse_expose(words) == wanted


@pytest.mark.parametrize("words", ["", "x", "80/icmp", "1-99999"])
def test_bad_expose(words):
    with pytest.raises(UsageError, match=r"^--expose: "):
        parse_expose(words)

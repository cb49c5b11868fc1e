import pytest

from nodeagent.control.logoptions import parse_log
from nodeagent.control.logtargets import parse_target
from nodeagent.errors import Invalid
from runtime.contract.shipping import Endpoint, FluentdTarget, JournaldTarget, SyslogTarget


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("udp://10.0.0.5", Endpoint(kind="udp", host="10.0.0.5", port=514)),
        ("udp://10.0.0.5:601", Endpoint(kind="udp", host="10.0.0.5", port=601)),
        ("tcp://logs.example:601", Endpoint(kind="tcp", host="logs.example", port=601)),
        ("tcp://[fd00::5]:601", Endpoint(kind="tcp", host="fd00::5", port=601)),
        ("tcp+tls://logs", Endpoint(kind="tls", host="logs", port=514)),
        ("unix:///run/log.sock", Endpoint(kind="unix", path="/run/log.sock")),
        ("unixgram:///dev/log", Endpoint(kind="unixgram", path="/dev/log")),
    ],
)
def test_addresses_of_syslog(address, wanted):
    found = parse_target("syslog", {"syslog-address": address})
    assert (found.endpoint, found.facility) == (wanted, 3)
    assert found.local is (wanted.kind == "unixgram")


def test_the_hosts_own_syslog_is_the_default():
    found = parse_target("syslog", {"syslog-facility": "local3"})
    assert found == SyslogTarget(
        endpoint=Endpoint(kind="unixgram", path="/dev/log"), facility=19, local=True
    )
    assert not parse_target("syslog", {"syslog-format": "rfc5424"}).local


def test_tls_files():
    options = {
        "syslog-address": "tcp+tls://logs:6514", "syslog-tls-ca-cert": "/ca.pem",
        "syslog-tls-cert": "/c.pem", "syslog-tls-key": "/k.pem", "syslog-tls-skip-verify": "true",
    }  # fmt: skip
    endpoint = parse_target("syslog", options).endpoint
    assert (endpoint.ca_file, endpoint.cert_file, endpoint.key_file) == (
        "/ca.pem",
        "/c.pem",
        "/k.pem",
    )
    assert not endpoint.verify


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, ("tcp", "127.0.0.1", 24224, "", True)),
        ({"fluentd-address": "fluent"}, ("tcp", "fluent", 24224, "", True)),
        ({"fluentd-address": "10.0.0.5:1", "fluentd-request-ack": "false"},
         ("tcp", "10.0.0.5", 1, "", False)),
        ({"fluentd-address": "unix:///f.sock", "fluentd-async": "true"},
         ("unix", "", 0, "/f.sock", True)),
    ],
)  # fmt: skip
def test_fluentd(options, wanted):
    found = parse_target("fluentd", options)
    assert isinstance(found, FluentdTarget)
    where = found.endpoint
    assert (where.kind, where.host, where.port, where.path, found.acks) == wanted


def test_others():
    assert parse_target("journald", {}) == JournaldTarget()
    assert parse_target("local", {}) is None


@pytest.mark.parametrize(
    ("driver", "options", "field"),
    [
        ("syslog", {"syslog-address": "10.0.0.5:514"}, "syslog-address"),
        ("syslog", {"syslog-address": "http://10.0.0.5"}, "syslog-address"),
        ("syslog", {"syslog-address": "udp:///dev/log"}, "syslog-address"),
        ("syslog", {"syslog-address": "unix://host"}, "syslog-address"),
        ("syslog", {"syslog-address": "tcp://h:70000"}, "syslog-address"),
        ("syslog", {"syslog-address": "tcp://h:0"}, "syslog-address"),
        ("syslog", {"syslog-address": "udp://h", "syslog-tls-cert": "/x"}, "syslog-address"),
        ("syslog", {"syslog-facility": "local9"}, "syslog-facility"),
        ("syslog", {"syslog-facility": "24"}, "syslog-facility"),
        ("syslog", {"syslog-format": "rfc3164"}, "syslog-format"),
        ("syslog", {"fluentd-address": "x"}, "fluentd-address"),
        ("fluentd", {"fluentd-address": "udp://h"}, "fluentd-address"),
        ("fluentd", {"fluentd-request-ack": "perhaps"}, "fluentd-request-ack"),
        ("journald", {"syslog-address": "udp://h"}, "syslog-address"),
        ("local", {"syslog-address": "udp://h"}, "syslog-address"),
    ],
)
def test_a_wrong_option_is_named_when_the_container_is_created(driver, options, field):
    with pytest.raises(Invalid) as caught:
        parse_log(driver, options)
    assert caught.value.fields["field"] == f"log_options.{field}"

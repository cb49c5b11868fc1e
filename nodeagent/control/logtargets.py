"""Docker's options of the drivers that ship logs, as the collector they mean. Pure."""

import re
from collections.abc import Mapping
from typing import Final

from nodeagent.errors import Invalid
from nodeagent.model.logs import LogDriver
from runtime.contract.shipping import (
    Endpoint,
    FluentdTarget,
    JournaldTarget,
    SyslogTarget,
    Target,
)

SWITCHES: Final = {"true": True, "1": True, "false": False, "0": False}
TLS_KEYS: Final = {
    "syslog-tls-ca-cert": "ca_file", "syslog-tls-cert": "cert_file", "syslog-tls-key": "key_file",
}  # fmt: skip
# Docker's, for a driver that may hold up the program and keeps its buffer in memory
IDLE_FLUENTD: Final = {
    "fluentd-async", "fluentd-async-reconnect-interval", "fluentd-buffer-limit",
    "fluentd-max-retries", "fluentd-retry-wait", "fluentd-sub-second-precision",
    "fluentd-write-timeout",
}  # fmt: skip
TARGET_KEYS: Final[Mapping[LogDriver, frozenset[str]]] = {
    "syslog": frozenset({"syslog-address", "syslog-facility", "syslog-format",
                         "syslog-tls-skip-verify", *TLS_KEYS}),
    "fluentd": frozenset({"fluentd-address", "fluentd-request-ack", *IDLE_FLUENTD}),
    "journald": frozenset(),
}  # fmt: skip
# option: where it leads without it, kinds of addresses, port without one
SYSLOG_KINDS: Final = {"udp": "udp", "tcp": "tcp", "tcp+tls": "tls", "unix": "unix",
                       "unixgram": "unixgram"}  # fmt: skip
SYSLOG_DEFAULT: Final = "unixgram:///dev/log"
SYSLOG_PORT: Final = 514
FLUENTD_KINDS: Final = {"tcp": "tcp", "unix": "unix"}
FLUENTD_DEFAULT: Final = "tcp://127.0.0.1:24224"
FLUENTD_PORT: Final = 24224
ADDRESS: Final = re.compile(
    r"(?P<kind>[a-z+]+)://"
    r"(?:(?P<path>/[^\0]+)|(?P<host>[\w.-]+|\[[0-9a-fA-F:.%\w]+\])(?::(?P<port>\d{1,5}))?/?)",
    re.ASCII,
)
FACILITIES: Final = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "security", "console", "solaris-cron", "local0", "local1", "local2", "local3",
    "local4", "local5", "local6", "local7",
)  # fmt: skip
FORMATS: Final = {"rfc5424", "rfc5424micro"}


def wrong(key: str, value: str, why: str) -> Invalid:
    """The error of an option."""
    return Invalid(why, field=f"log_options.{key}", value=value)


def parse_switch(options: Mapping[str, str], key: str) -> bool | None:
    """True or false; None if it is not there."""
    text = options.get(key)
    if text is None:
        return None
    if text not in SWITCHES:
        raise wrong(key, text, "neither true nor false")
    return SWITCHES[text]


def parse_target(driver: LogDriver, options: Mapping[str, str]) -> Target | None:
    """Where the driver ships to; None if it only keeps (Invalid names the option)."""
    match driver:
        case "syslog":
            return _syslog(options)
        case "fluentd":
            address = options.get("fluentd-address", FLUENTD_DEFAULT)
            address = address if "://" in address else f"tcp://{address}"
            endpoint = _endpoint("fluentd-address", address, FLUENTD_KINDS, FLUENTD_PORT)
            acks = parse_switch(options, "fluentd-request-ack")
            return FluentdTarget(endpoint=endpoint, acks=acks is not False)
        case "journald":
            return JournaldTarget()
        case _:
            return None


def _syslog(options: Mapping[str, str]) -> SyslogTarget:
    address = options.get("syslog-address", SYSLOG_DEFAULT)
    endpoint = _endpoint("syslog-address", address, SYSLOG_KINDS, SYSLOG_PORT)
    tls = {field: options[key] for key, field in TLS_KEYS.items() if key in options}
    skips = parse_switch(options, "syslog-tls-skip-verify")
    if endpoint.kind != "tls" and (tls or skips is not None):
        raise wrong("syslog-address", address, "syslog-tls-* options need tcp+tls://")
    if endpoint.kind == "tls":
        endpoint = Endpoint(
            kind="tls", host=endpoint.host, port=endpoint.port, verify=not skips, **tls
        )
    format_ = options.get("syslog-format", "rfc5424")
    if format_ not in FORMATS:
        raise wrong("syslog-format", format_, "neither rfc5424 nor rfc5424micro")
    is_local = endpoint.kind == "unixgram" and "syslog-format" not in options
    return SyslogTarget(endpoint=endpoint, facility=_facility(options), local=is_local)


def _endpoint(key: str, address: str, kinds: Mapping[str, str], port: int) -> Endpoint:
    match = ADDRESS.fullmatch(address)
    kind = kinds.get(match["kind"], "") if match else ""
    if match is None or not kind or bool(match["path"]) != kind.startswith("unix"):
        have = ", ".join(f"{each}://…" for each in kinds)
        raise wrong(key, address, f"no address: HOST[:PORT] or a /PATH after one of {have}")
    number = int(match["port"] or port)
    if not 0 < number < 1 << 16:
        raise wrong(key, address, "no port")
    if match["path"]:
        return Endpoint(kind="unix" if kind == "unix" else "unixgram", path=match["path"])
    host = match["host"].strip("[]")
    return Endpoint(
        kind="udp" if kind == "udp" else "tls" if kind == "tls" else "tcp", host=host, port=number
    )


def _facility(options: Mapping[str, str]) -> int:
    text = options.get("syslog-facility", "daemon")
    if text in FACILITIES:
        return FACILITIES.index(text)
    if text.isascii() and text.isdigit() and int(text) < len(FACILITIES):
        return int(text)
    raise wrong("syslog-facility", text, f"none of {', '.join(FACILITIES)}")

"""Lines sent to real collectors: rsyslogd, journald, and a server of the forward protocol."""

import ssl
import subprocess
from functools import partial

import pytest
import trio

from runtime.contract.logs import LogLine
from runtime.contract.shipping import (
    Endpoint,
    FluentdTarget,
    JournaldTarget,
    Origin,
    SyslogTarget,
)
from runtime.errors import Unavailable
from runtime.logs.sinks import open_sink
from tests.fakes.collectors import Forward, open_journald, open_rsyslog, wait_for

ORIGIN = Origin(
    host="node1", container_id="a" * 64, container_name="web", image_name="busybox", tag="app",
    attributes={"team": "net"},
)  # fmt: skip


async def send(target, *batches):
    async with open_sink(target, ORIGIN) as sink:
        for batch in batches:
            await sink.send(batch)


def lines(count, *, data=None):
    return [
        LogLine(
            time_ns=1_795_000_000_000_000_000 + n,
            stream="stderr" if n % 2 else "stdout",
            data=data or b"line %d\n" % n,
        )
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def rsyslog(tmp_path_factory):
    with open_rsyslog(tmp_path_factory.mktemp("rsyslog")) as made:
        yield made


def endpoint_of(rsyslog, kind):
    paths = {"unix": "stream", "unixgram": "datagrams"}
    if kind in paths:
        return Endpoint(kind=kind, path=str(rsyslog.folder / paths[kind]))
    return Endpoint(kind=kind, host="127.0.0.1", port=rsyslog.port)


@pytest.mark.parametrize("kind", ["tcp", "udp", "unix", "unixgram"])
async def test_rsyslog_takes_what_is_sent(rsyslog, kind):
    is_local = kind == "unixgram"
    target = SyslogTarget(endpoint=endpoint_of(rsyslog, kind), facility=16, local=is_local)
    before = len(rsyslog.rows())
    await send(target, lines(50), lines(1, data=b"x" * 9000 + b"\n"))
    rows = wait_for(lambda: (found := rsyslog.rows()[before:])[51:] and found)
    assert [row[4].strip() for row in rows[:50]] == [f"line {n}" for n in range(50)]
    assert [row[:2] for row in rows[:2]] == [["134", "app"], ["131", "app"]]
    if not is_local:
        assert [row[2] for row in rows[:2]] == ["stdout", "stderr"]
        assert 'team="net"' in rows[0][3]
        assert 'name="web"' in rows[0][3]
    assert sum(len(row[4].strip()) for row in rows[50:]) == 9000, "a long line comes in parts"


@pytest.fixture(scope="module")
def journald():
    with open_journald() as made:
        yield made


async def test_journald_takes_what_is_sent(journald):
    target = JournaldTarget(path=str(journald.path))
    await send(target, lines(20), lines(1, data=b"two\xff\nlines and an open end"))
    found = wait_for(lambda: (seen := journald.entries())[20:] and seen)
    assert [each["MESSAGE"] for each in found[:20]] == [f"line {n}" for n in range(20)]
    assert [each["PRIORITY"] for each in found[:2]] == ["6", "3"]
    assert bytes(found[20]["MESSAGE"]) == b"two\xff\nlines and an open end"
    assert found[20]["CONTAINER_PARTIAL_MESSAGE"] == "true"
    first = found[0]
    assert (first["CONTAINER_ID"], first["CONTAINER_TAG"], first["TEAM"]) == (
        "a" * 12,
        "app",
        "net",
    )


@pytest.mark.parametrize("acks", [True, False])
async def test_forward(tmp_path, acks):
    server = Forward(tmp_path / "f")
    target = FluentdTarget(endpoint=Endpoint(kind="unix", path=str(tmp_path / "f")), acks=acks)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, server.serve, 30)
            await send(target, lines(20), lines(10))
    server.close()
    assert [each["log"] for each in server.records[:20]] == [f"line {n}" for n in range(20)]
    assert server.tags == ["app", "app"]


async def test_what_is_not_acknowledged_has_not_arrived(tmp_path):
    server = Forward(tmp_path / "f")
    target = FluentdTarget(endpoint=Endpoint(kind="unix", path=str(tmp_path / "f")))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: trio.to_thread.run_sync(lambda: server.serve(5, drops=1)))
            with pytest.raises(Unavailable, match="hung up"):
                await send(target, lines(5))
            await send(target, lines(5))
    server.close()
    assert len(server.records) == 5


@pytest.mark.parametrize("kind", ["tcp", "unix", "unixgram", "udp"])
async def test_nobody_there(tmp_path, kind):
    path = str(tmp_path / "none") if "unix" in kind else ""
    target = SyslogTarget(endpoint=Endpoint(kind=kind, host="127.0.0.1", port=9, path=path))
    with pytest.raises(Unavailable, match="collector"):
        await send(target, lines(1))


async def test_a_name_that_is_none():
    target = SyslogTarget(endpoint=Endpoint(kind="udp", host="no.such.invalid", port=9))
    with pytest.raises(Unavailable, match="reach collector"):
        await send(target, lines(1))


def make_certificate(folder):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem",
         "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return str(folder / "cert.pem"), str(folder / "key.pem")


async def test_tls_is_checked_and_used(tmp_path):
    cert, key = make_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    got = bytearray()

    async def serve(stream):
        try:
            while data := await stream.receive_some():
                got.extend(data)
        except trio.BrokenResourceError:
            return

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(
            partial(trio.serve_ssl_over_tcp, serve, 0, context, host="127.0.0.1")
        )
        port = listener.transport_listener.socket.getsockname()[1]
        endpoint = Endpoint(kind="tls", host="localhost", port=port, ca_file=cert)
        await send(SyslogTarget(endpoint=endpoint), lines(3))
        await trio.to_thread.run_sync(wait_for, lambda: b"line 2" in got)
        unknown = Endpoint(kind="tls", host="localhost", port=port)
        with pytest.raises(Unavailable, match="shake hands"):
            await send(SyslogTarget(endpoint=unknown), lines(1))
        gone = Endpoint(
            kind="tls", host="localhost", port=port, ca_file=cert, cert_file="/no/such.pem"
        )
        with pytest.raises(Unavailable, match=r"file=/no/such\.pem"):
            await send(SyslogTarget(endpoint=gone), lines(1))
        blind = Endpoint(kind="tls", host="localhost", port=port, verify=False)
        await send(SyslogTarget(endpoint=blind), lines(1))
        nursery.cancel_scope.cancel()

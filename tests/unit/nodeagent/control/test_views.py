"""Records in Docker's spelling."""

from pathlib import Path

import msgspec
import pytest

from nodeagent.control.desired import GATEWAY_MODE
from nodeagent.control.views import (
    Surroundings,
    container_row,
    container_view,
    ports_view,
    state_view,
    status_text,
)
from nodeagent.model.container import MountRecord
from nodeagent.model.containerrequest import PortBinding
from tests.fakes.records import container, endpoint, network

NETWORKS = {"n" * 64: network()}
NOW = 1767225600.0 + 7200  # two hours after 2026-01-01


def running(**fields):
    return container(
        phase="running",
        started_at="2026-01-01T01:00:00Z",
        endpoints={"n" * 64: endpoint()},
        network_mode="n" * 64,
        ports=[PortBinding(container_port=80, host_ip="127.0.0.1", host_port=8080)],
        expose=["53/udp", "80/tcp"],
        **fields,
    )


def view(record, *, live=True):
    around = Surroundings(
        networks=NETWORKS,
        image=None,
        sources={"/www": "/lib/volumes/data/_data"},
        etc=Path("/lib/etc"),
        run=Path("/run/n"),
        log_path=Path("/lib/log"),
        live=live,
    )
    state = state_view(record, paused=False, restarting=False, pid=77)
    return msgspec.to_builtins(container_view(record, state, around))


@pytest.mark.parametrize(
    ("fields", "flags", "words"),
    [
        ({"phase": "running", "started_at": "2026-01-01T01:00:00Z"}, (False, False),
         "Up About an hour"),
        ({"phase": "running", "started_at": "2026-01-01T01:00:00Z"}, (True, False),
         "Up About an hour (Paused)"),
        ({"exit_code": 3, "finished_at": "2026-01-01T01:59:00Z"}, (False, False),
         "Exited (3) About a minute ago"),
        ({"exit_code": 3, "finished_at": "2026-01-01T01:59:50Z"}, (False, True),
         "Restarting (3) in 12 seconds, try 1"),
        ({"phase": "created"}, (False, False), "Created"),
    ],
)  # fmt: skip
def test_status_in_words(fields, flags, words):
    paused, restarting = flags
    said = status_text(
        container(**fields), paused=paused, restarting=restarting, now=NOW, try_at=NOW + 12
    )
    assert said == words


def test_a_row():
    row = msgspec.to_builtins(
        container_row(running(), NETWORKS, paused=False, restarting=False, now=NOW)
    )
    assert row["Ports"] == "127.0.0.1:8080->80/tcp, 53/udp"
    assert row["Networks"] == "demo"
    assert row["Command"] == "httpd -f"


def test_dockers_field_names():
    mount = MountRecord(type="volume", source="", target="/www", name="data", driver="local")
    shown = view(running(mounts=[mount]))
    assert shown["State"]["OOMKilled"] is False
    assert shown["State"]["Pid"] == 77
    assert shown["Mounts"][0]["Source"] == "/lib/volumes/data/_data"
    assert shown["Mounts"][0]["RW"] is True
    endpoint_ = shown["NetworkSettings"]["Networks"]["demo"]
    assert endpoint_["IPAddress"] == "172.20.0.2"
    assert endpoint_["IPPrefixLen"] == 24
    assert shown["NetworkSettings"]["SandboxKey"] == "/run/n/netns/" + "a" * 64
    assert shown["NetworkSettings"]["Ports"]["53/udp"] is None


def test_ports_of_a_routed_network_are_at_the_containers_own_address():
    networks = {"n" * 64: network(options={f"{GATEWAY_MODE}4": "routed"})}
    asked = {"ports": [PortBinding(container_port=80)]}
    record = msgspec.structs.replace(running(request=asked), ports=[])
    row = container_row(record, networks, paused=False, restarting=False, now=NOW)
    assert row.ports == "172.20.0.2:80->80/tcp, 53/udp"
    shown = msgspec.to_builtins(ports_view(record, networks, live=True))
    assert shown == {
        "53/udp": None, "80/tcp": [{"HostIp": "172.20.0.2", "HostPort": "80"}],
    }  # fmt: skip
    assert ports_view(record, networks, live=False) == {}


def test_a_container_that_is_down_shows_no_addresses_and_no_ports():
    shown = view(running(), live=False)
    assert shown["NetworkSettings"]["Networks"]["demo"]["IPAddress"] == ""
    assert shown["NetworkSettings"]["Ports"] == {}
    assert shown["NetworkSettings"]["SandboxID"] == ""

"""Records for tests that need some and do not care which."""

from ipaddress import ip_interface

import msgspec

from netdrivers.plan.objects import Address
from netdrivers.plan.ops import Op
from nodeagent.model.container import ContainerRecord, EndpointRecord
from nodeagent.model.containerrequest import ContainerCreate
from nodeagent.model.network import NetworkRecord, SubnetRequest
from nodeagent.model.volume import VolumeRecord


def container(id_="a" * 64, *, request=None, **fields):
    """An exited container; ``request`` are fields of its create request."""
    basis = ContainerRecord(
        id=id_,
        name="web",
        created="2026-01-01T00:00:00Z",
        image_id="sha256:" + "1" * 64,
        image_name="busybox",
        request=ContainerCreate(image="busybox", **(request or {})),
        args=["httpd", "-f"],
        env=[],
        working_dir="/",
        user="",
        stop_signal="SIGTERM",
        labels={},
        mounts=[],
        expose=[],
        phase="exited",
        network_mode="none",
    )
    return msgspec.structs.replace(basis, **fields)


def network(id_="n" * 64, *, subnet="172.20.0.0/24", gateway="172.20.0.1", **fields):
    """A ready bridge network."""
    basis = NetworkRecord(
        id=id_,
        name="demo",
        created="2026-01-01T00:00:00Z",
        driver="bridge",
        subnets=[SubnetRequest(subnet=subnet, gateway=gateway)],
        internal=False,
        ipv6=False,
        mtu_bytes=1500,
        labels={},
        options={},
        phase="ready",
    )
    return msgspec.structs.replace(basis, **fields)


def endpoint(network_id="n" * 64, address="172.20.0.2/24", interface="eth0", **fields):
    """An endpoint with one address."""
    basis = EndpointRecord(
        id="e" * 63 + interface[-1],
        network_id=network_id,
        interface=interface,
        mac="02:42:ac:14:00:02",
        addresses=[address],
        gateways=["172.20.0.1"],
        aliases=[],
    )
    return msgspec.structs.replace(basis, **fields)


def volume(name="data", **fields):
    """A local volume."""
    basis = VolumeRecord(
        name=name, driver="local", options={}, labels={}, created="2026-01-01T00:00:00Z",
        phase="ready", anonymous=False,
    )  # fmt: skip
    return msgspec.structs.replace(basis, **fields)


def op_of(owner, number=1):
    """A step about an address of a network or container."""
    ip = ip_interface(f"10.9.9.{number}/24")
    return Op(verb="add", obj=Address(ns="", link="br-1", ip=ip, owner=owner))

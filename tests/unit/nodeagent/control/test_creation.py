"""Docker's rules from request and image to what will run."""

import itertools
from ipaddress import ip_address

import pytest

from nodeagent.control.creation import (
    check_endpoint,
    check_name,
    check_publish_address,
    check_request,
    generate_name,
    matches_labels,
    resolve_args,
    resolve_env,
    resolve_expose,
    resolve_mounts,
    split_mode,
)
from nodeagent.errors import Invalid
from nodeagent.model.containerrequest import (
    ContainerCreate,
    EndpointRequest,
    MountRequest,
    PortBinding,
    RestartPolicy,
)
from runtime.imageconfig import ImageConfig
from tests.fakes.records import network


def request(**fields):
    return ContainerCreate(image="busybox", **fields)


ENTRY = ImageConfig(entrypoint=("/entry",), cmd=("default",))


@pytest.mark.parametrize(
    ("fields", "args"),
    [
        ({}, ["/entry", "default"]),
        ({"cmd": ["a", "b"]}, ["/entry", "a", "b"]),
        ({"entrypoint": ["/other"]}, ["/other"]),
        ({"entrypoint": ["/other"], "cmd": ["x"]}, ["/other", "x"]),
        ({"entrypoint": [""], "cmd": ["sh"]}, ["sh"]),
    ],
)
def test_entrypoint_and_command(fields, args):
    assert resolve_args(request(**fields), ENTRY) == args


def test_nothing_to_run_is_an_error():
    with pytest.raises(Invalid, match="field=cmd"):
        resolve_args(request(), ImageConfig())


def test_environment_is_layered_and_can_be_removed():
    env = resolve_env(
        request(env=["A=2", "B", "C=x=y"], tty=True), ImageConfig(env=("A=1", "B=1")), "h"
    )
    assert "A=2" in env
    assert "C=x=y" in env
    assert "HOSTNAME=h" in env
    assert "TERM=xterm" in env
    assert not any(entry.startswith("B=") for entry in env)
    assert any(entry.startswith("PATH=/usr/local/sbin") for entry in env)


def test_a_nameless_environment_entry_is_refused():
    with pytest.raises(Invalid, match="field=env"):
        resolve_env(request(env=["=x"]), ImageConfig(), "h")


def test_exposed_ports_are_merged():
    ports = [PortBinding(container_port=443, host_port=8443)]
    merged = resolve_expose(
        request(ports=ports, expose=["53/udp", "8000-8002"]), ImageConfig(exposed_ports=("80/tcp",))
    )
    assert merged == ["53/udp", "80/tcp", "443/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]


@pytest.mark.parametrize("entry", ["http", "0", "70000", "80/icmp", "90-80"])
def test_bad_expose(entry):
    with pytest.raises(Invalid, match="field=expose"):
        resolve_expose(request(expose=[entry]), ImageConfig())


def mounts(*asked, volumes=()):
    names = (f"anon{n}" for n in itertools.count())
    return resolve_mounts(
        request(mounts=list(asked)), ImageConfig(volumes=volumes), lambda: next(names)
    )


def test_image_volumes_become_anonymous_unless_covered():
    records = mounts(MountRequest(type="volume", source="data", target="/a/"), volumes=("/a", "/b"))
    assert [(r.name, r.target, r.anonymous) for r in records] == [
        ("data", "/a", False),
        ("anon0", "/b", True),
    ]


def test_outer_mounts_come_first():
    records = mounts(
        MountRequest(type="tmpfs", target="/a/b/c"), MountRequest(type="tmpfs", target="/a")
    )
    assert [r.target for r in records] == ["/a", "/a/b/c"]


@pytest.mark.parametrize(
    "asked",
    [
        MountRequest(type="volume", target="relative"),
        MountRequest(type="volume", target="/"),
        MountRequest(type="volume", target="/a/../b"),
        MountRequest(type="bind", target="/a", source="relative"),
        MountRequest(type="tmpfs", target="/a", source="/b"),
        MountRequest(type="volume", target="/a", source="../x"),
        MountRequest(type="bind", target="/a", source="/x\0y"),
    ],
)
def test_bad_mounts_name_their_position(asked):
    with pytest.raises(Invalid, match=r"mounts\[0\]"):
        mounts(asked)


def test_doubled_targets_are_refused():
    with pytest.raises(Invalid, match=r"mounts\[1\].target"):
        mounts(MountRequest(type="tmpfs", target="/a"), MountRequest(type="tmpfs", target="/a/"))


@pytest.mark.parametrize("name", ["-a", "", "a b", "a/b", "x" * 256, "ä"])
def test_bad_names(name):
    with pytest.raises(Invalid, match="field=name"):
        check_name(name)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"hostname": "a_b"}, "hostname"),
        ({"memory_bytes": 1000}, "memory_bytes"),
        ({"working_dir": "rel"}, "working_dir"),
        ({"stop_signal": "FOO"}, "stop_signal"),
        ({"extra_hosts": ["nothing"]}, r"extra_hosts\[0\]"),
        ({"auto_remove": True, "restart_policy": RestartPolicy(name="always")}, "restart_policy"),
    ],
)
def test_requests_that_cannot_be(fields, field):
    with pytest.raises(Invalid, match=f"field={field}"):
        check_request(request(**fields))


def test_generated_names_avoid_taken_ones():
    first = generate_name("0" * 64, lambda _name: False)
    assert generate_name("0" * 64, lambda name: name == first) != first


def test_labels_and_modes():
    assert matches_labels({"a": "1", "b": ""}, ["a=1", "b"])
    assert not matches_labels({"a": "1"}, ["a=2"])
    assert split_mode("container:web") == ("container", "web")
    assert split_mode("demo") == ("demo", "")


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"ip": "172.20.0.9"}, "ip"), ({"ip6": "fd00::2"}, "ip6"), ({"aliases": ["www"]}, "aliases")],
)
def test_the_predefined_network_gives_no_address_or_alias_of_ones_choice(fields, field):
    with pytest.raises(Invalid, match="user-defined networks only") as caught:
        check_endpoint(network(predefined=True), EndpointRequest(**fields))
    assert caught.value.fields["field"] == field


def test_an_endpoint_asks_for_what_the_network_can_give():
    check_endpoint(network(), EndpointRequest(ip="172.20.0.9", aliases=["www"]))
    for asked, field in (
        (EndpointRequest(ip6="fd00::2"), "ip6"),
        (EndpointRequest(aliases=["a b"]), "aliases[0]"),
        (EndpointRequest(aliases=["a" * 63 + ".b", "b." + "a" * 64]), "aliases[1]"),
    ):
        with pytest.raises(Invalid) as caught:
            check_endpoint(network(), asked)
        assert caught.value.fields["field"] == field


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("::1", "127.0.0.1"),
        ("::ffff:192.0.2.1", "publish on 192.0.2.1"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"),
    ],
)
def test_a_port_is_published_on_an_address_a_host_can_have(address, why):
    with pytest.raises(Invalid, match=why) as caught:
        check_publish_address(ip_address(address), field="ports[0].host_ip")
    assert caught.value.fields["field"] == "ports[0].host_ip"


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "127.0.0.1", "192.0.2.1", "fd00::1"])
def test_a_port_is_published_on_any_other_address(address):
    check_publish_address(ip_address(address), field="ports[0].host_ip")

from pathlib import Path

import pytest

from runtime.container.spec import (
    CAPABILITIES,
    INIT_TARGET,
    Device,
    Host,
    Parts,
    build_config,
    build_exec,
    capabilities,
    default_env,
    parse_capability_mask,
)
from runtime.container.users import Identity
from runtime.contract.container import ContainerSpec, Limits, MountPoint, ProcessSpec
from runtime.errors import Invalid

ROOT = Identity(uid=0, gid=0, groups=(0,), home="/root")
HOST = Host(machine="x86_64", capabilities=frozenset(CAPABILITIES), limits={"nofile": 20000})


def spec(**fields):
    process = fields.pop("process", ProcessSpec(args=("sh",)))
    fields = {"hostname": "h", "netns": "/run/netns/x", "name": "n", **fields}
    return ContainerSpec(id="a" * 64, rootfs=Path("/r"), process=process, **fields)


def config(host=HOST, identity=ROOT, parts=None, **fields):
    parts = parts or Parts(identity=identity, cgroup="/p/a")
    return build_config(spec(**fields), host, parts)


def mount(found, target):
    return next(each for each in found["mounts"] if each["destination"] == target)


def test_defaults_are_dockers():
    found = config()
    process, linux = found["process"], found["linux"]
    assert len(process["capabilities"]["bounding"]) == 14
    assert process["capabilities"]["effective"] == process["capabilities"]["bounding"]
    assert "ambient" not in process["capabilities"]
    assert {each["type"] for each in linux["namespaces"]} == {
        "pid",
        "mount",
        "ipc",
        "uts",
        "network",
    }
    assert "/proc/kcore" in linux["maskedPaths"]
    assert "/proc/sys" in linux["readonlyPaths"]
    assert linux["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert linux["cgroupsPath"] == "/p/a"
    assert "ro" in mount(found, "/sys")["options"]
    assert "ro" in mount(found, "/sys/fs/cgroup")["options"]
    assert f"size={64 << 20}" in mount(found, "/dev/shm")["options"]
    assert process["rlimits"] == []
    assert "oomScoreAdj" not in process


def test_host_network_and_v2():
    kinds = [each["type"] for each in config(netns="")["linux"]["namespaces"]]
    assert "network" not in kinds
    host = Host(machine="x86_64", capabilities=frozenset(), cgroup_v2=True)
    assert "cgroup" in [each["type"] for each in config(host)["linux"]["namespaces"]]


def test_namespaces_by_mode():
    def kinds(**fields):
        return {each["type"]: each.get("path") for each in config(**fields)["linux"]["namespaces"]}

    assert "pid" not in kinds(pid_ns="host")
    assert kinds(pid_ns="/proc/1/ns/pid")["pid"] == "/proc/1/ns/pid"
    assert kinds(ipc_ns="none")["ipc"] is None
    assert kinds(cgroup_ns="private")["cgroup"] is None  # also where the default shares it
    assert config(uts_ns="host", hostname="a")["hostname"] == ""
    shm = [each for each in config(ipc_ns="none")["mounts"] if each["destination"] == "/dev/shm"]
    assert shm == []
    assert mount(config(ipc_ns="host"), "/dev/shm")["type"] == "bind"
    assert config(domainname="d")["linux"]["sysctl"] == {"kernel.domainname": "d"}
    assert "maskedPaths" not in config(system_paths=False)["linux"]


@pytest.mark.parametrize(
    ("add", "drop", "wanted"),
    [
        ((), ("ALL",), set()),
        (("NET_ADMIN",), ("ALL",), {"CAP_NET_ADMIN"}),
        (("cap_sys_time",), ("all",), {"CAP_SYS_TIME"}),
        (("ALL",), ("CAP_MKNOD",), set(CAPABILITIES) - {"CAP_MKNOD"}),
    ],
)
def test_capabilities(add, drop, wanted):
    assert set(capabilities(spec(cap_add=add, cap_drop=drop), HOST)) == wanted


def test_unknown_capability():
    with pytest.raises(Invalid, match="FLY"):
        capabilities(spec(cap_add=("FLY",)), HOST)


def test_capabilities_the_agent_lacks_are_left_out():
    host = Host(machine="x86_64", capabilities=frozenset({"CAP_CHOWN"}))
    assert capabilities(spec(privileged=True), host) == ["CAP_CHOWN"]
    assert capabilities(spec(), host) == ["CAP_CHOWN"]


def test_capability_bits():
    assert parse_capability_mask(0xA80425FB) == set(capabilities(spec(), HOST))
    assert parse_capability_mask(1 << 40) == {"CAP_CHECKPOINT_RESTORE"}


def test_user_but_root_has_no_effective_capability():
    found = config(identity=Identity(uid=5, gid=6, groups=(6, 7)))["process"]
    assert found["user"] == {"uid": 5, "gid": 6, "additionalGids": [6, 7]}
    assert found["capabilities"]["effective"] == []
    assert len(found["capabilities"]["bounding"]) == 14


def test_privileged():
    found = config(privileged=True)
    assert "seccomp" not in found["linux"]
    assert "maskedPaths" not in found["linux"]
    assert "rw" in mount(found, "/sys")["options"]
    assert found["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]


def test_limits():
    found = config(limits=Limits(memory_bytes=100, oom_score_adj=-500))
    assert found["linux"]["resources"]["memory"] == {"limit": 100, "swap": 200}
    assert found["process"]["oomScoreAdj"] == 0  # the agent cannot lower it
    host = Host(machine="x86_64", capabilities=frozenset(), swap=False)
    found = config(host, limits=Limits(memory_bytes=100))
    assert found["linux"]["resources"]["memory"] == {"limit": 100}


def test_ulimits_are_cut():
    found = config(ulimits={"nofile": (100000, -1), "core": (-1, -1)})["process"]["rlimits"]
    assert found == [
        {"type": "RLIMIT_NOFILE", "hard": 20000, "soft": 20000},
        {"type": "RLIMIT_CORE", "hard": (1 << 64) - 1, "soft": (1 << 64) - 1},
    ]
    with pytest.raises(Invalid):
        config(ulimits={"wings": (1, 1)})


def test_mounts_keep_their_order_and_options():
    mounts = (
        MountPoint(type="bind", source="/v", target="/data", read_only=True, propagation="rslave"),
        MountPoint(type="tmpfs", source="", target="/t", options=("size=1m", "exec")),
        MountPoint(type="tmpfs", source="", target="/dev/shm"),
    )
    found = config(mounts=mounts)
    assert [each["destination"] for each in found["mounts"]][-3:] == ["/data", "/t", "/dev/shm"]
    assert mount(found, "/data")["options"] == ["rbind", "ro", "rslave"]
    assert mount(found, "/t")["options"][-2:] == ["size=1m", "exec"]
    assert [each["destination"] for each in found["mounts"]].count("/dev/shm") == 1


def test_devices():
    device = Device(
        target="/dev/x", type="c", major=10, minor=229, mode=0o20666, uid=1, gid=2, access="rw"
    )
    found = config(parts=Parts(identity=ROOT, devices=(device,)))["linux"]
    assert found["devices"][0]["fileMode"] == 0o666
    assert found["resources"]["devices"][-1]["access"] == "rw"


def test_init_wraps_the_command():
    found = config(parts=Parts(identity=ROOT, init="/usr/bin/catatonit"))
    assert found["process"]["args"] == [INIT_TARGET, "--", "sh"]
    assert mount(found, INIT_TARGET)["source"] == "/usr/bin/catatonit"


def test_environment():
    env = default_env(("A=1", "A=2", "PATH", "HOME=/x"), ROOT, hostname="h", tty=True)
    assert sorted(env) == ["A=2", "HOME=/x", "HOSTNAME=h", "TERM=xterm"]


def test_no_command():
    with pytest.raises(Invalid):
        config(process=ProcessSpec(args=()))


def test_terminal_size_is_what_conmon_takes():
    found = config(process=ProcessSpec(args=("x",), tty=True, rows=5000, columns=80))["process"]
    assert found["consoleSize"] == {"height": 1000, "width": 80}


def test_exec_has_the_containers_rights():
    first = config(cap_drop=("ALL",), no_new_privileges=True, ulimits={"core": (0, 0)})
    found = build_exec(first, ProcessSpec(args=("ls",), env=("A=1",)), ROOT, None)
    assert found["capabilities"]["bounding"] == []
    assert found["noNewPrivileges"] is True
    assert found["rlimits"] == first["process"]["rlimits"]
    assert "A=1" in found["env"]
    full = build_exec(first, ProcessSpec(args=("ls",)), ROOT, HOST)
    assert full["capabilities"]["bounding"] == list(CAPABILITIES)
    assert full["noNewPrivileges"] is False

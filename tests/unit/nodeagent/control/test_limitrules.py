import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.control.limitrules import IPC_SYSCTLS, check_limits
from nodeagent.errors import Invalid
from nodeagent.model.containerrequest import ContainerCreate, IoLimit


def check(**fields):
    check_limits(ContainerCreate(image="x", **fields))


def io(device, kind="read_bps", value=1000):
    return IoLimit(kind=kind, device=device, value=value)


def test_what_docker_takes():
    check(cpu_period_us=50_000, cpu_quota_us=25_000, cpuset_cpus="0-1,3", cpuset_mems="0")
    check(io_limits=[io("/dev/a"), io("/dev/b"), io("/dev/a", "weight", 10)])
    check(memory_bytes=1 << 30, oom_kill_disable=True, blkio_weight=10)
    check(device_cgroup_rules=["c 1:3 rw", "b *:* m", "a *:* rwm"])
    check(sysctls={"net.ipv4.ip_unprivileged_port_start": "0", "net/core/somaxconn": "1"})
    check(sysctls=dict.fromkeys(IPC_SYSCTLS, "1") | {"fs.mqueue.msg_max": "5"})


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"nano_cpus": 1, "cpu_quota_us": 5000}, "nano_cpus"),
        ({"cpu_period_us": 999}, "cpu_period_us"),
        ({"cpu_quota_us": 999}, "cpu_quota_us"),
        ({"cpuset_cpus": "x"}, "cpuset_cpus"),
        ({"cpuset_mems": "0-"}, "cpuset_mems"),
        ({"blkio_weight": 9}, "blkio_weight"),
        ({"oom_kill_disable": True}, "oom_kill_disable"),
        ({"storage_size_bytes": (16 << 20) - 1}, "storage_size_bytes"),
        ({"io_limits": [io("/x")]}, r"io_limits\[0\].device"),
        ({"io_limits": [io("/dev/a"), io("/dev/b", "weight", 9)]}, r"io_limits\[1\].value"),
        ({"io_limits": [io("/dev/a"), io("/dev/a")]}, r"io_limits\[1\]"),
        ({"device_cgroup_rules": ["c 1:3 rw", "c 1 rw"]}, r"device_cgroup_rules\[1\]"),
        ({"sysctls": {"net.core.somaxconn": "1"}, "network_mode": "host"}, "somaxconn"),
        ({"sysctls": {"net.core.somaxconn": "1"}, "network_mode": "container:x"}, "somaxconn"),
    ],
)
def test_refused(fields, names):
    with pytest.raises(Invalid, match=names):
        check(**fields)


@given(
    st.sampled_from(
        ["kernel.core_pattern", "vm.overcommit_memory", "kernel/core_pattern", "fs.file-max",
         "kernel.msgmaxx", "net", "net..x", "net./../kernel/core_pattern", "../x", "fs.mqueue",
         "kernel.shm*", "user.max_user_namespaces"]
    )
    | st.text(max_size=12).map("kernel.{}".format)
)  # fmt: skip
def test_nothing_of_the_hosts_can_be_set(name):
    if name in IPC_SYSCTLS:
        return
    with pytest.raises(Invalid):
        check(sysctls={name: "1"})

import json

import pytest

from runtime.container import seccomp
from runtime.errors import Invalid


def names(profile, action="SCMP_ACT_ALLOW", *, plain=True):
    return {
        name
        for rule in profile["syscalls"]
        if rule["action"] == action and (not plain or "args" not in rule)
        for name in rule["names"]
    }


def test_default_refuses_what_is_not_named():
    profile = seccomp.build_default("x86_64", ())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert profile["defaultErrnoRet"] == 1
    refused = {
        "mount", "umount2", "unshare", "setns", "bpf", "kexec_load", "init_module", "reboot",
        "add_key", "keyctl", "request_key", "io_uring_setup", "userfaultfd", "perf_event_open",
        "open_by_handle_at", "syslog", "swapon", "pivot_root", "settimeofday", "clone",
        "personality",
    }  # fmt: skip
    assert not refused & names(profile)
    assert {"openat2", "read", "execve", "futex", "statx", "rseq", "clock_gettime64"} <= names(
        profile
    )


def test_no_name_twice_in_a_rule():
    assert len(set(seccomp.ALLOWED)) == len(seccomp.ALLOWED)


def test_clone_of_namespaces_is_refused_and_clone3_is_not_there():
    profile = seccomp.build_default("x86_64", ())
    (clone,) = [rule for rule in profile["syscalls"] if rule["names"] == ["clone"]]
    (argument,) = clone["args"]
    assert argument["op"] == "SCMP_CMP_MASKED_EQ"
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert argument["value"] & flag
    assert argument["valueTwo"] == 0
    (clone3,) = [rule for rule in profile["syscalls"] if rule["names"] == ["clone3"]]
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


@pytest.mark.parametrize(
    ("capability", "extra"),
    [
        ("CAP_SYS_ADMIN", {"mount", "unshare", "clone", "clone3", "setns", "bpf"}),
        ("CAP_SYS_MODULE", {"init_module", "delete_module"}),
        ("CAP_SYS_TIME", {"settimeofday", "clock_settime"}),
        ("CAP_SYS_CHROOT", {"chroot"}),
        ("CAP_SYSLOG", {"syslog"}),
        ("CAP_BPF", {"bpf"}),
    ],
)
def test_capabilities_bring_their_calls(capability, extra):
    assert not extra & names(seccomp.build_default("x86_64", ()))
    assert extra <= names(seccomp.build_default("x86_64", {capability}))


def test_sys_admin_is_not_told_that_clone3_is_missing():
    profile = seccomp.build_default("x86_64", {"CAP_SYS_ADMIN"})
    assert names(profile, "SCMP_ACT_ERRNO") == set()


def test_vsock_is_refused():
    profile = seccomp.build_default("x86_64", ())
    (rule,) = [rule for rule in profile["syscalls"] if rule["names"] == ["socket"]]
    assert rule["args"] == [{"index": 0, "value": 40, "valueTwo": 0, "op": "SCMP_CMP_NE"}]


def test_architectures():
    assert "arch_prctl" in names(seccomp.build_default("x86_64", ()))
    arm = seccomp.build_default("aarch64", ())
    assert arm["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    assert "set_tls" in names(arm)
    assert "arch_prctl" not in names(arm)
    assert seccomp.build_default("riscv64", ())["architectures"] == []


def test_settings():
    assert seccomp.build("unconfined", "x86_64", ()) is None
    assert seccomp.build("", "x86_64", ()) == seccomp.build("default", "x86_64", ())
    own = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}
    assert seccomp.build(json.dumps(own), "x86_64", ()) == own


DOCKERS = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": None, "comment": "x"},
        {"name": "write", "action": "SCMP_ACT_ALLOW"},
        {"names": ["arm"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_CHROOT"]}},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["s"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
    ],
}


@pytest.mark.parametrize(
    ("capabilities", "wanted"),
    [
        ((), {"read", "write", "clone", "ptrace"}),
        (("CAP_SYS_CHROOT", "CAP_SYS_ADMIN"), {"read", "write", "chroot", "ptrace"}),
    ],
)
def test_dockers_form(capabilities, wanted):
    found = seccomp.parse_profile(json.dumps(DOCKERS), "x86_64", capabilities)
    assert names(found) == wanted
    assert "SCMP_ARCH_X86_64" in found["architectures"]
    assert "archMap" not in found
    assert found["syscalls"][0] == {"names": ["read"], "action": "SCMP_ACT_ALLOW"}


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"defaultAction": 3}', '{"defaultAction":"A","syscalls":[1]}',
     '{"defaultAction":"A","archMap":{}, "syscalls": 7}'],
)  # fmt: skip
def test_broken_profiles(text):
    with pytest.raises(Invalid):
        seccomp.parse_profile(text, "x86_64", ())

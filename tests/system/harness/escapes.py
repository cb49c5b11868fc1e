"""Tries to get out of a container: a program for inside, and what its answers mean.

Run by the distribution's python3 with the names of tricks; one line of JSON tells of each how far
it came: "done", or the name of the error. Each stops short of harm where it is not refused.
"""

import ctypes
import errno
import json
import os
import platform
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MAGIC = 0xFEE1DEAD  # of reboot(2); the second one given here is wrong
LOOP_MAJOR, KMSG = 7, (1, 11)
HANDLE_BYTES = 128
NUMBERS = {
    "x86_64": {
        "ptrace": 101, "settimeofday": 164, "reboot": 169, "init_module": 175,
        "delete_module": 176, "kexec_load": 246, "add_key": 248, "keyctl": 250,
        "perf_event_open": 298, "name_to_handle_at": 303, "open_by_handle_at": 304, "bpf": 321,
        "fsopen": 430,
    },
    "aarch64": {
        "kexec_load": 104, "init_module": 105, "delete_module": 106, "ptrace": 117, "reboot": 142,
        "settimeofday": 170, "add_key": 217, "keyctl": 219, "perf_event_open": 241,
        "name_to_handle_at": 264, "open_by_handle_at": 265, "bpf": 280, "fsopen": 430,
    },
}  # fmt: skip
libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def syscall(name: str, *args: object) -> int:
    number = NUMBERS[platform.machine()][name]
    return checked(libc.syscall(ctypes.c_long(number), *args))


def mount() -> None:
    checked(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))


def remount_writable() -> None:
    checked(libc.mount(None, b"/proc/sys", None, 32 | 4096, None))  # MS_REMOUNT | MS_BIND


def unshare(flags: int) -> None:
    checked(libc.unshare(flags))


def enter_namespace() -> None:
    with Path("/proc/self/ns/net").open("rb") as file:
        checked(libc.setns(file.fileno(), 0))


def write_to(*paths: str) -> None:
    """Open the first that exists for writing; nothing is written."""
    path = next((each for each in paths if Path(each).exists()), paths[0])
    os.close(os.open(path, os.O_WRONLY))


def read_from(path: str) -> None:
    """What is masked is empty, or not there."""
    if Path(path).is_dir():
        found = any(Path(path).iterdir())
    else:
        with Path(path).open("rb", buffering=0) as file:
            found = bool(file.read(1))
    if not found:
        raise OSError(errno.ENOENT, "empty")


def device(kind: int, numbers: tuple[int, int]) -> None:
    path = "/tmp/device"
    Path(path).unlink(missing_ok=True)
    os.mknod(path, kind | 0o600, os.makedev(*numbers))
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))


def cgroup_child() -> None:
    """A group of its own, into which it could put itself: out of its limits."""
    top = Path("/sys/fs/cgroup")
    parent = top / "memory" if (top / "memory").is_dir() else top
    (parent / "escape").mkdir()
    (parent / "escape").rmdir()


def release_agent() -> None:
    """A program of ours that the kernel would run on the host (v1); or all its groups (v2)."""
    kind, options = (
        (b"cgroup", b"memory") if Path("/sys/fs/cgroup/memory").is_dir() else (b"cgroup2", None)
    )
    checked(libc.mount(b"none", b"/tmp", kind, 0, options))
    write_to("/tmp/release_agent", "/tmp/cgroup.procs")


def perf() -> None:
    attributes = ctypes.create_string_buffer((1).to_bytes(4, "little") + (64).to_bytes(4, "little"))
    syscall("perf_event_open", attributes, -1, 0, -1, 0)  # any process on the first processor


def bpf() -> None:
    words = (2, 4, 4, 1, 0)  # a map: array, key and value of 4 bytes, one entry
    buffer = ctypes.create_string_buffer(b"".join(n.to_bytes(4, "little") for n in words), 64)
    os.close(syscall("bpf", 0, buffer, 64))


def open_by_handle() -> None:
    """A file of the host's by its number: on the file system of a bind mount."""
    handle = ctypes.create_string_buffer(8 + HANDLE_BYTES)
    handle[0:4] = HANDLE_BYTES.to_bytes(4, "little")
    mount_id = ctypes.c_int()
    at = -100  # AT_FDCWD
    syscall("name_to_handle_at", at, b"/usr/lib", handle, ctypes.byref(mount_id), 0)
    top = os.open("/usr", os.O_RDONLY)
    os.close(syscall("open_by_handle_at", top, handle, os.O_RDONLY))


def set_clock() -> None:
    zone = (10_000).to_bytes(4, "little") + bytes(4)  # no such zone: refused after the rights
    syscall("settimeofday", None, ctypes.create_string_buffer(zone))


def push_input() -> None:
    import fcntl

    fd = os.open("/dev/tty", os.O_RDWR)
    fcntl.ioctl(fd, 0x5412, b"x")  # TIOCSTI


def see_host() -> None:
    """Signal nothing to the host's kthreadd, which no container has."""
    numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    foreign = next(filter(is_kernels, sorted(numbers)), 0)
    if not foreign:
        raise OSError(errno.ESRCH, "nobody to be seen")
    os.kill(foreign, 0)


def is_kernels(pid: int) -> bool:
    """Whether it is kthreadd, which is on every host and in no container."""
    try:
        return Path(f"/proc/{pid}/comm").read_text("ascii").strip() == "kthreadd"
    except OSError:
        return False


def hypervisor() -> None:
    socket.socket(40, socket.SOCK_STREAM).close()  # AF_VSOCK


TRICKS: Mapping[str, Callable[[], object]] = {
    "mount": mount,
    "remount": remount_writable,
    "fsopen": lambda: os.close(syscall("fsopen", b"tmpfs", 0)),
    "new mounts": lambda: unshare(CLONE_NEWNS),
    "new users": lambda: unshare(CLONE_NEWUSER),
    "namespace": enter_namespace,
    "proc sys": lambda: write_to("/proc/sys/kernel/core_pattern"),
    "sysrq": lambda: write_to("/proc/sysrq-trigger"),
    "proc irq": lambda: write_to("/proc/irq/default_smp_affinity"),
    "sys": lambda: write_to("/sys/kernel/uevent_helper", "/sys/kernel/profiling",
                            "/sys/kernel/mm/ksm/run"),
    "kcore": lambda: read_from("/proc/kcore"),
    "keys": lambda: read_from("/proc/keys"),
    "timers": lambda: read_from("/proc/timer_list"),
    "firmware": lambda: read_from("/sys/firmware"),
    "disk": lambda: device(0o060000, (LOOP_MAJOR, 0)),
    "kernel log": lambda: device(0o020000, KMSG),
    "keyctl": lambda: syscall("keyctl", 0, -3, 0, 0, 0),
    "add key": lambda: syscall("add_key", b"user", b"escape", b"x", 1, -2),
    "module": lambda: syscall("init_module", None, 0, b""),
    "module removal": lambda: syscall("delete_module", b"no_such_module", 0),
    "cgroup": cgroup_child,
    "release agent": release_agent,
    "bpf": bpf,
    "perf": perf,
    "kexec": lambda: syscall("kexec_load", 0, 0, None, 0x80),
    "reboot": lambda: syscall("reboot", MAGIC, 1, 0, None),
    "clock": set_clock,
    "handle": open_by_handle,
    "typing": push_input,
    "processes": see_host,
    "hypervisor": hypervisor,
}  # fmt: skip


def attempt(trick: Callable[[], object]) -> str:
    try:
        trick()
    except OSError as exc:
        return errno.errorcode.get(exc.errno or 0, str(exc.errno))
    return "done"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        pid = os.fork()  # each begins from the same state
        if not pid:
            print(json.dumps([name, attempt(TRICKS[name])]), flush=True)
            os._exit(0)
        os.waitpid(pid, 0)

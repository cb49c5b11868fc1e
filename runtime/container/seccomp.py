"""The default system call filter, with the meaning of Docker's: what is not named is refused.

Refused calls answer EPERM; clone3 answers ENOSYS, so that the C library falls back to clone, whose
flags a filter can see. Names a kernel or libseccomp does not know are skipped by the runtimes.

Source: Docker's documented default profile; seccomp(2), capabilities(7).
"""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from runtime.errors import Invalid

Rule = dict[str, object]

EPERM: Final = 1
ENOSYS: Final = 38
AF_VSOCK: Final = 40
# CLONE_NEWNS|NEWCGROUP|NEWUTS|NEWIPC|NEWUSER|NEWPID|NEWNET
CLONE_NAMESPACES: Final = 0x7E020000
# PER_LINUX, PER_LINUX32, with and without UNAME26, and "just ask"
PERSONALITIES: Final = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)

ARCHITECTURES: Final = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}

GO_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
PROFILE_KEYS: Final = ("defaultAction", "defaultErrnoRet", "architectures", "flags")
RULE_KEYS: Final = ("names", "action", "errnoRet", "args")

ALLOWED: Final = tuple(
    """
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown
    chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect
    copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old
    epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit
    exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod
    fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr
    flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
    ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat
    getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32
    getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority
    getrandom getresgid getresgid32 getresuid getresuid32 getrlimit get_robust_list getrusage
    getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getuid32 getxattr
    getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl
    io_destroy io_getevents io_pgetevents io_pgetevents_time64 ioprio_get ioprio_set io_setup
    io_submit ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown
    lchown32 lgetxattr link linkat listen listmount listxattr listxattrat llistxattr _llseek
    lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create
    memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
    mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock
    munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2
    pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll
    ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6
    pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv
    recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename
    renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
    rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam sched_get_priority_max
    sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select
    semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg
    sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32
    setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid
    setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area
    set_tid_address setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown
    sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat
    stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo
    tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
    timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
    timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname
    unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4
    waitid waitpid write writev process_vm_readv process_vm_writev ptrace
    """.split()  # noqa: SIM905  a block of names reads better
)

BY_ARCHITECTURE: Final = {
    "x86_64": ("arch_prctl", "modify_ldt"),
    "aarch64": ("arm_fadvise64_64", "arm_sync_file_range", "sync_file_range2", "breakpoint",
                "cacheflush", "set_tls"),
}  # fmt: skip

BY_CAPABILITY: Final = {
    "CAP_DAC_READ_SEARCH": ("open_by_handle_at",),
    "CAP_SYS_ADMIN": (
        "bpf", "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick",
        "lookup_dcookie", "mount", "mount_setattr", "move_mount", "open_tree", "perf_event_open",
        "quotactl", "quotactl_fd", "setdomainname", "sethostname", "setns", "syslog", "umount",
        "umount2", "unshare",
    ),
    "CAP_SYS_BOOT": ("reboot",),
    "CAP_SYS_CHROOT": ("chroot",),
    "CAP_SYS_MODULE": ("delete_module", "init_module", "finit_module"),
    "CAP_SYS_PACCT": ("acct",),
    "CAP_SYS_PTRACE": (
        "kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace",
    ),
    "CAP_SYS_RAWIO": ("iopl", "ioperm"),
    "CAP_SYS_TIME": ("settimeofday", "stime", "clock_settime", "clock_settime64"),
    "CAP_SYS_TTY_CONFIG": ("vhangup",),
    "CAP_SYS_NICE": ("get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"),
    "CAP_SYSLOG": ("syslog",),
    "CAP_BPF": ("bpf",),
    "CAP_PERFMON": ("perf_event_open",),
}  # fmt: skip


def _allow(*names: str, args: tuple[Rule, ...] = ()) -> Rule:
    rule: Rule = {"names": list(names), "action": "SCMP_ACT_ALLOW"}
    return {**rule, "args": list(args)} if args else rule


def _argument(index: int, value: int, op: str, value_two: int = 0) -> Rule:
    return {"index": index, "value": value, "valueTwo": value_two, "op": op}


def _rules(machine: str, capabilities: Collection[str]) -> Iterator[Rule]:
    yield _allow(*ALLOWED, *BY_ARCHITECTURE.get(machine, ()))
    for value in PERSONALITIES:
        yield _allow("personality", args=(_argument(0, value, "SCMP_CMP_EQ"),))
    # vsock reaches the hypervisor past every network namespace
    yield _allow("socket", args=(_argument(0, AF_VSOCK, "SCMP_CMP_NE"),))
    extra = [name for cap, names in BY_CAPABILITY.items() if cap in capabilities for name in names]
    if extra:
        yield _allow(*dict.fromkeys(extra))
    if "CAP_SYS_ADMIN" not in capabilities:
        masked = _argument(0, CLONE_NAMESPACES, "SCMP_CMP_MASKED_EQ")
        yield _allow("clone", args=(masked,))
        yield {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}


def build_default(machine: str, capabilities: Collection[str]) -> Rule:
    """The default profile for a process that may hold ``capabilities``, as OCI ``linux.seccomp``.

    Args:
        machine: as ``uname -m`` says it.
    """
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": list(ARCHITECTURES.get(machine, ())),
        "syscalls": list(_rules(machine, capabilities)),
    }


def _words(rule: Mapping[str, object], part: str, name: str) -> list[str]:
    """A list of names in a condition of a rule, e.g. ``includes.caps``."""
    condition = rule.get(part)
    found = condition.get(name, []) if isinstance(condition, dict) else []
    return [str(word) for word in found] if isinstance(found, list) else []


def _applies(rule: Mapping[str, object], go_arch: str, capabilities: Collection[str]) -> bool:
    """Whether a rule of Docker's form is for this container.

    A ``minKernel`` is always met: those in use are older than any kernel we run on.
    """
    arches, caps = _words(rule, "includes", "arches"), _words(rule, "includes", "caps")
    if (arches and go_arch not in arches) or not set(caps) <= set(capabilities):
        return False
    if go_arch in _words(rule, "excludes", "arches"):
        return False
    return not set(_words(rule, "excludes", "caps")) & set(capabilities)


def _oci_rule(rule: Mapping[str, object]) -> Rule:
    kept = {key: value for key, value in rule.items() if key in RULE_KEYS and value is not None}
    if "names" not in kept:
        kept["names"] = [rule.get("name")]
    return kept


def _list(profile: Mapping[str, object], key: str) -> list[Rule]:
    found = profile.get(key) or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise Invalid("read seccomp profile", field=key, reason="not a list of objects")
    return found


def parse_profile(text: str, machine: str, capabilities: Collection[str]) -> Rule:
    """A profile of the user, in the OCI form or in Docker's (``archMap``, ``includes`` …).

    Raises:
        Invalid: not JSON, or of neither form.
    """
    try:
        profile = json.loads(text)
    except ValueError as exc:
        raise Invalid("read seccomp profile", reason=str(exc)) from exc
    if not isinstance(profile, dict) or not isinstance(profile.get("defaultAction"), str):
        raise Invalid("read seccomp profile", field="defaultAction", reason="missing")
    go_arch = GO_ARCHITECTURES.get(machine, machine)
    rules = [rule for rule in _list(profile, "syscalls") if _applies(rule, go_arch, capabilities)]
    found: Rule = {key: profile[key] for key in PROFILE_KEYS if profile.get(key) is not None}
    found["syscalls"] = [_oci_rule(rule) for rule in rules]
    if _list(profile, "archMap"):
        found["architectures"] = list(ARCHITECTURES.get(machine, ()))
    return found


def build(profile: str, machine: str, capabilities: Collection[str]) -> Rule | None:
    """The filter for a container's ``seccomp`` setting; None is no filter."""
    if profile == "unconfined":
        return None
    if profile in {"", "default"}:
        return build_default(machine, capabilities)
    return parse_profile(profile, machine, capabilities)

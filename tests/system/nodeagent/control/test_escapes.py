"""Ways out of a container: each is refused, and each is shown to be open to who may do all.

Covers runtime/container/spec.py, runtime/container/seccomp.py
"""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.system.harness import escapes
from tests.system.harness.agent import Agent

INSIDE = "/escapes.py"
FOLDERS = [path for path in ("/usr", "/lib", "/lib64") if Path(path).exists()]
PYTHON = (*(word for path in FOLDERS for word in ("-v", f"{path}:{path}:ro")),
          "-v", f"{escapes.__file__}:{INSIDE}:ro")  # fmt: skip
REFUSALS = {"EPERM", "EACCES", "EROFS", "ENOENT", "ESRCH", "ENXIO"}
# what this kernel may lack, or nobody in a container of its own processes and terminal can have
CLOSED_TO_ALL = {"sysrq", "kcore", "timers", "firmware", "sys", "typing", "processes"}
RIGHTS_ALONE = ("mount", "fsopen", "new mounts", "namespace", "module", "module removal", "bpf",
                "kexec", "reboot", "clock", "handle", "perf")  # fmt: skip


def tried(agent: Agent, *flags: str) -> Mapping[str, str]:
    """How far each trick came in a container with these flags."""
    said = agent.say("run", "--rm", *PYTHON, *flags, "busybox", "/usr/bin/python3", INSIDE,
                     *escapes.TRICKS)  # fmt: skip
    # a terminal shows what is typed at it, too
    return dict(json.loads(line[line.index("[") :]) for line in said.splitlines())


def came_through(found: Mapping[str, str]) -> dict[str, str]:
    return {name: how for name, how in found.items() if how not in REFUSALS}


def test_each_way_is_closed_and_was_one(shared_agent: Agent) -> None:
    """The second half: with all rights the kernel looks at what it is given, or does it."""
    found = tried(shared_agent)
    assert set(found) == set(escapes.TRICKS)
    assert came_through(found) == {}
    assert set(escapes.TRICKS) - set(came_through(tried(shared_agent, "--privileged"))) <= (
        CLOSED_TO_ALL
    )


def test_two_ways_that_even_privileges_do_not_open(shared_agent: Agent) -> None:
    """Their controls: the host's processes, and a terminal of the container's own."""
    assert tried(shared_agent, "--pid", "host")["processes"] == "done"
    assert tried(shared_agent, "-t")["typing"] not in REFUSALS


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_the_rights_alone_refuse_without_the_filter(shared_agent: Agent, user: str) -> None:
    found = tried(shared_agent, "--security-opt", "seccomp=unconfined", "-u", user)
    through = came_through({name: found[name] for name in RIGHTS_ALONE})
    assert set(through.values()) <= {"ENOSYS"}, through  # a kernel without modules, say


def test_no_descriptor_of_the_host_is_inherited(shared_agent: Agent) -> None:
    """The control: one that the program itself opens is seen by the same look."""
    look = "exec 7</etc/passwd; ls -l /proc/1/fd /proc/self/fd | sed -n 's/.* \\(.* -> .*\\)/\\1/p'"
    lines = shared_agent.say("run", "--rm", "busybox", "sh", "-c", look).splitlines()
    assert any("passwd" in line for line in lines)
    allowed = ("pipe:", "/dev/null", "/etc/passwd", "/proc/", "socket:")
    assert [line for line in lines if not line.split(" -> ")[-1].startswith(allowed)] == []


OVERWRITE = """
import os
held = {}
while not os.path.exists("/stop"):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            name = os.readlink(f"/proc/{pid}/exe")
            fd = os.open(f"/proc/{pid}/exe", os.O_PATH)
        except OSError:
            continue
        key = (name, os.fstat(fd).st_dev, os.fstat(fd).st_ino)
        if int(pid) != os.getpid() and key not in held:
            held[key] = fd
        else:
            os.close(fd)
for (name, *_), fd in held.items():  # nobody runs them any more: a program can be written to
    try:
        os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
    except OSError as exc:
        print("refused", exc.errno, name)
    else:
        print("opened", name)
"""


def test_the_runtime_is_not_overwritten_by_what_it_starts(shared_agent: Agent) -> None:
    """CVE-2019-5736: who enters the container has the runtime's program as /proc/PID/exe.

    The control is a program of the container's own, which the same way leads to.
    """
    agent = shared_agent
    agent.cli("run", "-d", "--name", "box", *PYTHON, "busybox", "/usr/bin/python3", "-c", OVERWRITE)
    try:
        agent.cli("exec", "box", "cp", "/bin/busybox", "/bin/sleep-victim")
        agent.cli("exec", "box", "sh", "-c", "rm /bin/sleep; mv /bin/sleep-victim /bin/sleep")
        agent.cli("exec", "box", "/bin/sleep", "0.3")
        for _ in range(8):
            agent.cli("exec", "box", "/proc/self/exe", "--version", check=False)
        agent.cli("exec", "box", "touch", "/stop")
        agent.cli("wait", "box")
        said = agent.say("logs", "box").splitlines()
    finally:
        agent.cli("rm", "-f", "box")
    assert [line for line in said if line.startswith("opened")] == ["opened /bin/sleep"], said
    assert any(line.startswith("refused") for line in said)  # it did see who entered


def test_a_mount_does_not_follow_the_links_of_a_volume_or_an_image(
    shared_agent: Agent, tmp_path: Path
) -> None:
    """Targets and parts of volumes that lead out by links stay within, or are refused."""
    agent, outside = shared_agent, tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret", "utf-8")
    trap = (
        f"ln -s {outside} /trap; ln -s ../../../../../../../..{outside} /up; mkdir -p {outside}; "
    )
    links = f"ln -s {outside} /data/out; ln -s /proc/1/root /data/root"
    agent.cli("run", "--name", "box", "-v", "data:/data", "busybox", "sh", "-c", trap + links)
    agent.cli("commit", "box", "trapped")
    try:
        for target in ("/trap/deep", "/up/deep", "/trap"):
            agent.cli("run", "--rm", "-v", f"data:{target}", "trapped", "true")
            assert [path.name for path in outside.iterdir()] == ["secret"]
        inside = agent.say("run", "--rm", "-v", "data:/trap", "trapped", "ls", str(outside))
        assert "out" in inside.split()  # the link was followed within the container's root
        for part in ("out", "root", "out/secret", "../data"):
            mount = f"type=volume,source=data,target=/d,volume-subpath={part}"
            done = agent.cli("run", "--rm", "--mount", mount, "busybox", "ls", "/d", check=False)
            assert done.returncode == 125, (part, done.stdout)
    finally:
        agent.cli("rm", "-f", "box")
        agent.cli("volume", "rm", "--now", "data")
        agent.cli("image", "rm", "trapped")

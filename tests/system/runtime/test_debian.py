"""A whole distribution as an image: many files, users, setuid programs, links.

Pulled from a registry.

Busybox is too small to show what this shows.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness.agent import Agent
from tests.system.harness.namespace import run
from tests.system.harness.registry import Registry

BUILD_S = 400


@pytest.fixture(scope="module")
def debian_tar() -> Iterator[bytes]:
    """Debian's smallest root filesystem, as debootstrap makes it."""
    with tempfile.TemporaryDirectory(prefix="nt-debian-", dir="/var/tmp") as top:
        argv = ["debootstrap", "--variant=minbase", "bookworm", f"{top}/root"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=BUILD_S)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        run(["tar", "-C", f"{top}/root", "--exclude=./var/cache/apt/archives/*.deb",
             "-cf", f"{top}/root.tar", "."])  # fmt: skip
        yield Path(top, "root.tar").read_bytes()


def test_a_distribution_comes_through_whole(
    debian_tar: bytes, registry: Registry, agent: Agent
) -> None:
    registry.push("debian:small", [debian_tar], Cmd=["bash"], Env=["LANG=C.UTF-8"])
    name = f"{registry.address}/debian:small"
    agent.cli("pull", name)

    def say(*args: str) -> str:
        return agent.say("run", "--rm", *args)

    assert say(name, "dpkg", "--verify") == "", "a file differs from its package"
    assert say(name, "stat", "-c", "%a %U", "/usr/bin/passwd") == "4755 root"
    assert say("-u", "www-data", name, "id", "-un") == "www-data"
    assert say(name, "readlink", "/bin") == "usr/bin"
    listed = say(name, "dpkg-query", "-W", "-f", "${Package} ").split()
    assert {"bash", "coreutils", "dpkg"} <= set(listed)
    assert say(name, "sh", "-c", "umount /proc 2>&1; echo $?").splitlines()[-1] != "0"

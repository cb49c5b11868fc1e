"""quickstart, again, and uninstall: in a namespace and below one directory, as a user runs them."""

import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.system.harness import leftovers
from tests.system.harness.agent import CHECKOUT, child_environment
from tests.system.harness.namespace import Namespace, open_namespace

INSTALL_S = 300.0
CONSTRAINTS = CHECKOUT / "packaging/constraints.txt"
CGROUP = "/nt-quickstart"


@pytest.fixture(scope="module")
def wheels() -> Iterator[Path]:
    """All that pip will ask for, fetched from here: the namespace has no way out."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    with tempfile.TemporaryDirectory(prefix="nt-wheels-") as top:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--dest", top, "-c", str(CONSTRAINTS)]
        asked = ["setuptools", "wheel", *project["dependencies"]]
        done = subprocess.run([*pip, *asked], capture_output=True, text=True, timeout=INSTALL_S)
        assert done.returncode == 0, done.stderr
        yield Path(top)


class Installation:
    """One prefix, with the scripts of the checkout run on it inside a namespace."""

    def __init__(self, space: Namespace, base: Path, wheels: Path) -> None:
        self.space = space
        self.base = base
        self.prefix = base / "run"
        self._environment = child_environment() | {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "PIP_CONFIG_FILE": "/dev/null",
            "TMPDIR": str(base),
        }
        del self._environment["PYTHONPATH"]

    def script(
        self, name: str, *args: str, wheels: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run it; with ``wheels`` pip finds only what is in that folder."""
        argv = [str(CHECKOUT / "packaging" / name), "--prefix", str(self.prefix), *args]
        return subprocess.run(
            self.space.argv(*argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_S,
            env=self._environment | ({"PIP_FIND_LINKS": str(wheels)} if wheels else {}),
        )

    def succeed(self, name: str, *args: str, wheels: Path | None = None) -> str:
        done = self.script(name, *args, wheels=wheels)
        assert done.returncode == 0, f"{done.stdout}\n{self.log_tail()}"
        return done.stdout

    def agent(self, *args: str) -> str:
        """Run the installed client."""
        host = f"unix://{self.prefix}/run/nodeagent.sock"
        argv = [str(self.prefix / "venv/bin/nodeagent"), "--host", host, *args]
        return self.space.run(*argv).stdout

    def processes(self) -> list[str]:
        """What runs in the namespace."""
        own = self.space.path.stat().st_ino
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdecimal() and (entry / "ns/net").stat().st_ino == own:
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
        return found

    def configure(self) -> None:
        """Own cgroups, so that an agent of the host is not touched."""
        config = self.prefix / "etc/nodeagent.toml"
        config.parent.mkdir(parents=True)
        config.write_text(f'[container]\ncgroup_parent = "{CGROUP}"\n', encoding="utf-8")

    @contextmanager
    def takeover_by_hand(self) -> Iterator[None]:
        """Replace the agent as the README says; who stops it must find the new one."""
        run, serve = self.prefix / "run", [str(self.prefix / "venv/bin/nodeagent"), "serve"]
        flags = ["--config", f"{self.prefix}/etc/nodeagent.toml", "--root", f"{self.prefix}/lib"]
        argv = self.space.argv(*serve, *flags, "--run", str(run), "--takeover")
        log = (self.base / "by-hand.log").open("wb")
        with log, subprocess.Popen(argv, stdout=log, stderr=log, env=self._environment) as child:
            try:
                deadline = time.monotonic() + INSTALL_S
                while (run / "nodeagent.pid").read_text() != f"{child.pid}\n":
                    assert child.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                yield
                assert child.wait(INSTALL_S) == 0
            finally:
                child.kill()

    def snapshot(self) -> leftovers.Snapshot:
        return leftovers.read_snapshot(self.space, self.base, CGROUP)

    def log_tail(self) -> str:
        log = self.prefix / "nodeagent.log"
        return log.read_text("utf-8", "replace")[-4000:] if log.exists() else ""


@pytest.fixture
def installation(wheels: Path) -> Iterator[Installation]:
    with open_namespace() as space, tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as top:
        made = Installation(space, Path(top), wheels)
        try:
            yield made
        finally:
            made.script("uninstall")


def pid_of(said: str) -> str:
    (pid,) = re.findall(r"agent: ready, pid (\d+)", said)
    return pid


@pytest.mark.timeout(900)
def test_quickstart_twice_then_uninstall_leaves_nothing(installation: Installation) -> None:
    before = installation.snapshot()
    installation.configure()
    first = installation.succeed("quickstart")
    assert "client fetched http://web/ by name" in first
    assert "the data is still there" in first
    assert "agent killed with -9" in first
    assert "http://127.0.0.1:9323/metrics" in first
    second = installation.succeed("quickstart")
    assert "is up to date" in second
    assert "stays as it is" in second
    (installation.prefix / "venv/fingerprint").write_text("of older sources", "ascii")
    third = installation.succeed("quickstart", "--no-demo", wheels=installation.base)
    assert "no package index is asked" in third
    assert pid_of(first) != pid_of(third)  # the new code runs
    with installation.takeover_by_hand():
        assert "nothing of it is left" in installation.succeed("uninstall")
    assert not installation.prefix.exists()
    leftovers.wait_for(before, installation.snapshot)


@pytest.mark.timeout(900)
def test_kept_data_is_there_after_a_new_installation(installation: Installation) -> None:
    installation.configure()
    installation.succeed("quickstart")
    installation.agent("cluster", "init", "--advertise-addr", "127.0.0.1")
    installation.agent("network", "create", "-d", "overlay", "app")
    installation.agent("run", "-d", "--network", "app", "busybox", "sleep", "1000")
    assert "kept:" in installation.succeed("uninstall", "--keep-data")
    assert installation.processes() == []  # the cluster's store and what encrypts are gone, too
    assert leftovers.mounts_below(installation.base) == []
    assert leftovers.pids_of(installation.base, CGROUP) == []
    assert "was already here" in installation.succeed("quickstart")
    assert "manager" in installation.agent("node", "ls")
    assert "the cluster was left" in installation.succeed("uninstall")
    assert installation.processes() == []


def test_an_unknown_option_is_refused(installation: Installation) -> None:
    done = installation.script("quickstart", "--frobnicate")
    assert done.returncode == 1
    assert "unknown option --frobnicate" in done.stdout


def test_a_broken_config_is_named_with_the_place_of_the_log(installation: Installation) -> None:
    installation.configure()
    config = installation.prefix / "etc/nodeagent.toml"
    config.write_text("no_such_key = 1\n", encoding="utf-8")
    done = installation.script("quickstart", "--no-demo")
    assert done.returncode == 1
    assert "did not become ready" in done.stdout
    assert "no_such_key" in done.stdout
    assert f"{installation.prefix}/nodeagent.log" in done.stdout

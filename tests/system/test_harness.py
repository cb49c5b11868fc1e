"""The harness itself: what it does not see, no test of the agent can miss."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness import leftovers, process
from tests.system.harness.images import build_tar
from tests.system.harness.namespace import Namespace, join, open_namespace, run
from tests.system.harness.registry import open_registry

CGROUP = "/nt-harness-nothing"


@pytest.fixture
def base() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as top:
        (Path(top) / "run").mkdir()
        yield Path(top)


def seen_after(space: Namespace, base: Path, before: leftovers.Snapshot) -> list[str]:
    return before.differences(leftovers.read_snapshot(space, base, CGROUP))


def test_two_looks_at_the_same_differ_in_nothing(space: Namespace, base: Path) -> None:
    before = leftovers.read_snapshot(space, base, CGROUP)
    assert seen_after(space, base, before) == []


def test_a_link_an_address_and_a_table_are_seen(space: Namespace, base: Path) -> None:
    before = leftovers.read_snapshot(space, base, CGROUP)
    space.run("ip", "link", "add", "left0", "type", "bridge")
    space.run("ip", "address", "add", "198.51.100.1/24", "dev", "left0")
    space.run("nft", "add", "table", "inet", "left")
    seen = seen_after(space, base, before)
    assert any(line.startswith("+ link:") and "left0" in line for line in seen)
    assert any(line.startswith("+ address:") and "198.51.100.1" in line for line in seen)
    assert any(line.startswith("+ nft:") and "left" in line for line in seen)


def test_a_mount_and_a_file_are_seen(space: Namespace, base: Path) -> None:
    before = leftovers.read_snapshot(space, base, CGROUP)
    (base / "run/left").mkdir()
    run(["mount", "-t", "tmpfs", "left", str(base / "run/left")])
    try:
        seen = seen_after(space, base, before)
    finally:
        run(["umount", str(base / "run/left")])
    assert f"+ mount: {base}/run/left" in seen
    assert "+ file: run/left" in seen


def test_a_conmon_of_this_agent_is_seen_and_no_other(space: Namespace, base: Path) -> None:
    conmon = base / "conmon"
    conmon.symlink_to("/bin/sleep")
    before = leftovers.read_snapshot(space, base, CGROUP)
    ours = subprocess.Popen(["conmon", "60"], executable=conmon)
    theirs = subprocess.Popen([f"{base}/other/conmon", "60"], executable=conmon)
    try:
        assert leftovers.pids_of(base / "other", CGROUP) == [theirs.pid]
        assert seen_after(space, base, before) == [f"+ process: {base}/other/conmon 60"]
    finally:
        for child in (ours, theirs):
            child.kill()
            child.wait()


def test_what_stays_is_told(space: Namespace, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "SETTLE_S", 0.0)
    before = leftovers.read_snapshot(space, base, CGROUP)
    (base / "run/left").touch()
    with pytest.raises(AssertionError, match=r"\+ file: run/left"):
        leftovers.wait_for(before, lambda: leftovers.read_snapshot(space, base, CGROUP))


def test_a_cable_joins_two_namespaces(space: Namespace) -> None:
    with open_namespace() as other:
        near, far = join(space, other)
        assert near != far
        other.run("busybox", "ping", "-c", "1", "-W", "5", near)


def test_the_registry_answers_with_the_digest_that_was_pushed(space: Namespace) -> None:
    with open_registry(space) as registry:
        digest = registry.push("a/b:v1", [build_tar({"x": b"1"})], Cmd=["true"])
        inspected = space.run(
            "skopeo",
            "inspect",
            "--tls-verify=false",
            "--format={{.Digest}}",
            f"docker://{registry.address}/a/b:v1",
        )
        assert inspected.stdout.strip() == digest


def test_notes_arrive_and_the_end_of_the_child_is_noticed(base: Path) -> None:
    notes = process.Notes(base / "notes")
    program = (
        "import socket,sys;s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);"
        "s.sendto(b'X=1\\nREADY=1',sys.argv[1])"
    )
    argv = [sys.executable, "-c", program, str(notes.path)]
    child = process.start(argv, log=base / "log", env=dict(os.environ))
    try:
        assert child.wait_note(notes, "READY", 10) == "READY=1"
        assert child.wait(10) == 0
        with pytest.raises(AssertionError, match="ended with 0"):
            child.wait_note(notes, "READY", 10)
    finally:
        child.end()
        notes.close()

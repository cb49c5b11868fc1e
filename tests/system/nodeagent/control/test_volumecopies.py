"""Snapshots, clones, archives and removed volumes, with real containers and bytes.

Covers nodeagent/control/volumestreams.py, nodeagent/control/quiescing.py,
nodeagent/cli/volumecopies.py, voldrivers/backup.py
"""

import hashlib
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness.agent import Agent

RUN = ("run", "--rm")


@pytest.fixture(params=["local", "image"])
def data(request: pytest.FixtureRequest, shared_agent: Agent) -> Iterator[Agent]:
    """An agent with a volume ``data`` that has some content."""
    agent = shared_agent
    opts = ("--opt", "size=16m") if request.param == "image" else ()
    agent.cli("volume", "create", "-d", request.param, *opts, "--label", "a=b", "data")
    sh(agent, "data", "mkdir -p /d/sub && echo first > /d/sub/file && chmod 751 /d/sub")
    yield agent
    clear(agent)


def clear(agent: Agent) -> None:
    agent.remove_all()
    for row in agent.rows("volume", "--all"):
        agent.cli("volume", "rm", "--now", row["Name"])
    folder = agent.root / "volumes"
    assert [each.name for each in folder.iterdir()] == []


def sh(agent: Agent, volume: str, command: str) -> str:
    return agent.say(*RUN, "-v", f"{volume}:/d", "busybox", "sh", "-c", command)


def names(agent: Agent, kind: str) -> list[str]:
    return [each["Name"] for each in agent.rows("volume", "--all", "--filter", f"kind={kind}")]


def test_back_to_a_snapshot_and_back_from_there(data: Agent) -> None:
    assert data.say("volume", "snapshot", "data", "one") == "data@one"
    sh(data, "data", "echo second > /d/sub/file; touch /d/new")
    view = data.inspect("volume", "data@one")
    assert (view["Kind"], view["Origin"], view["Labels"]) == ("snapshot", "data", {"a": "b"})
    data.cli("volume", "restore", "data@one")
    assert sh(data, "data", "cat /d/sub/file; ls /d; stat -c %a /d/sub") == "first\nsub\n751"
    (kept,) = names(data, "removed")  # what it was before the restore
    data.cli("volume", "rename", "data", "restored")
    data.cli("volume", "restore", kept)
    assert sh(data, "data", "cat /d/sub/file") == "second"
    assert sh(data, "restored", "cat /d/sub/file") == "first"
    assert names(data, "volume") == ["data", "restored"]
    assert [row["Name"] for row in data.rows("volume")] == ["data", "restored"]
    assert names(data, "snapshot") == ["restored@one"]  # it went with the bytes it is of
    sh(data, "restored", "echo third > /d/sub/file")
    data.cli("volume", "restore", "restored@one")
    assert sh(data, "restored", "cat /d/sub/file") == "first"


def test_a_clone_has_a_life_of_its_own(data: Agent) -> None:
    data.cli("volume", "clone", "data", "copy")
    sh(data, "data", "echo second > /d/sub/file")
    assert sh(data, "copy", "cat /d/sub/file") == "first"
    done = data.cli("volume", "clone", "data", "copy", check=False)
    assert "there is a volume of this name" in done.stderr
    assert sh(data, "copy", "cat /d/sub/file") == "first"


def test_a_snapshot_in_use_with_the_program_told(data: Agent) -> None:
    data.cli("run", "-d", "--name", "box", "-v", "data:/d", "busybox", "sleep", "1000")
    data.cli(
        "volume", "snapshot", "--quiesce", "echo quiet > /d/state", "--resume",
        "echo on > /d/state", "data", "quiet",
    )  # fmt: skip
    assert data.say("exec", "box", "cat", "/d/state") == "on"
    data.cli("volume", "clone", "data@quiet", "copy")
    assert sh(data, "copy", "cat /d/state") == "quiet"
    failed = data.cli(
        "volume", "snapshot", "--quiesce", "echo no; exit 3", "data", "x", check=False
    )
    assert "status 3" in failed.stderr
    assert names(data, "snapshot") == ["data@quiet"]
    mounted = data.cli("volume", "restore", "data@quiet", check=False)
    assert "stop who uses it" in mounted.stderr
    assert names(data, "removed") == []


def test_removed_is_not_gone_unless_now(data: Agent) -> None:
    said = data.cli("volume", "rm", "data").stderr
    assert "volume restore undoes this" in said
    assert data.rows("volume") == []
    (kept,) = names(data, "removed")
    data.cli("volume", "create", "data")
    taken = data.cli("volume", "restore", kept, check=False)
    assert "there is a volume of this name" in taken.stderr
    data.cli("volume", "rm", "--now", "data")
    data.cli("volume", "restore", kept)
    assert sh(data, "data", "cat /d/sub/file") == "first"
    data.cli("volume", "prune", "-f", "-a")
    assert len(names(data, "removed")) == 1
    data.cli("volume", "prune", "-f", "--expired")
    assert len(names(data, "removed")) == 1  # its time has not come


@pytest.mark.parametrize("suffix", ["tar", "tar.zst"])
def test_out_and_in_again(data: Agent, tmp_path: Path, suffix: str) -> None:
    archive = tmp_path / f"data.{suffix}"
    data.cli("volume", "export", "-o", str(archive), "data")
    subprocess.run(["sha256sum", "-c", f"{archive.name}.sha256"], cwd=tmp_path, check=True)
    data.cli("volume", "import", "other", str(archive))
    assert sh(data, "other", "cat /d/sub/file; stat -c %a /d/sub") == "first\n751"
    sh(data, "data", "echo second > /d/sub/file")
    data.cli("volume", "import", "data", str(archive))
    assert sh(data, "data", "cat /d/sub/file") == "first"
    assert len(names(data, "removed")) == 1
    # damaged, cut and evil ones replace nothing
    sh(data, "data", "echo kept > /d/sub/file")
    raw = bytearray(archive.read_bytes())
    raw[raw.find(b"first") if suffix == "tar" else len(raw) // 3] ^= 0xFF
    archive.write_bytes(raw)
    assert "digest is another" in failing_import(data, archive) or suffix != "tar"
    (tmp_path / f"data.{suffix}.sha256").unlink()
    archive.write_bytes(raw[: len(raw) // 2])
    assert failing_import(data, archive)
    assert sh(data, "data", "cat /d/sub/file") == "kept"
    assert len(names(data, "removed")) == 1


def test_backups_share_what_did_not_change(data: Agent, tmp_path: Path) -> None:
    sh(data, "data", "dd if=/dev/urandom of=/d/large bs=1M count=4 2>/dev/null")
    data.cli("run", "-d", "--name", "box", "-v", "data:/d", "busybox", "sleep", "1000")
    first = data.cli("volume", "backup", "data", str(tmp_path)).stdout
    assert "2 files" in first
    sh(data, "data", "echo second > /d/sub/file")
    while len(list((tmp_path / "data").iterdir())) < 2:
        data.cli("volume", "backup", "data", str(tmp_path), check=False)  # one a second
    one, two = sorted((tmp_path / "data").iterdir())
    assert (one / "sub/file").read_text("utf-8") == "first\n"
    assert (two / "sub/file").read_text("utf-8") == "second\n"
    assert (one / "large").stat().st_ino == (two / "large").stat().st_ino
    assert (two / "sub").stat().st_mode & 0o777 == 0o751
    assert names(data, "snapshot") == []
    (tmp_path / "data/.part").mkdir()  # as a kill leaves it
    data.cli("volume", "create", "safe")
    data.cli("volume", "backup", "data", "safe")
    assert "large" in sh(data, "safe", "ls /d/data/*")
    while len(sorted((tmp_path / "data").glob("2*"))) != 1 or one.exists():
        data.cli("volume", "backup", "--keep", "1", "data", str(tmp_path), check=False)
    assert [each.name for each in (tmp_path / "data").iterdir() if each.name == ".part"] == []
    bad = data.cli("volume", "backup", "data", "relative/path", check=False)
    assert "absolute path" in bad.stderr
    (tmp_path / "door").symlink_to(data.root / "volumes/data")  # it would hold its own backups
    bad = data.cli("volume", "backup", "data", str(tmp_path / "door/_data"), check=False)
    assert "agent's own directory" in bad.stderr


def failing_import(agent: Agent, archive: Path) -> str:
    done = agent.cli("volume", "import", "data", str(archive), check=False)
    assert done.returncode == 1
    return done.stderr


def test_an_archive_that_leads_out_is_refused(shared_agent: Agent, tmp_path: Path) -> None:
    agent = shared_agent
    (tmp_path / "outside").mkdir()
    archive = tmp_path / "evil.tar"
    with tarfile.open(archive, "w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("link/file"))
    assert failing_import(agent, archive)
    with tarfile.open(archive, "w") as tar:
        tar.addfile(tarfile.TarInfo("../../file"))
    agent.cli("volume", "import", "data", str(archive), check=False)
    assert list((tmp_path / "outside").iterdir()) == []
    assert not (agent.root / "volumes/file").exists()
    assert not (agent.root / "file").exists()
    clear(agent)


def test_update_of_a_volume_in_use(shared_agent: Agent) -> None:
    agent = shared_agent
    agent.cli("volume", "create", "-d", "image", "-o", "fs=btrfs", "-o", "size=300m", "data")
    agent.cli("run", "-d", "--name", "box", "-v", "data:/d", "busybox", "sleep", "1000")
    agent.cli("volume", "update", "--size", "400m", "--label-add", "x=y", "data")
    view = agent.inspect("volume", "data")
    assert view["UsageData"]["Limit"] > 380 << 20
    assert (view["Labels"], view["Options"]["size"]) == ({"x": "y"}, "400m")
    smaller = agent.cli("volume", "update", "--size", "200m", "data", check=False)
    assert "cannot shrink" in smaller.stderr
    assert agent.inspect("volume", "data")["Options"]["size"] == "400m"
    agent.cli("volume", "update", "--label-rm", "x", "--sharing", "none", "data")
    view = agent.inspect("volume", "data")
    assert (view["Labels"], view["Sharing"]) == ({}, "none")
    assert agent.cli(*RUN, "-v", "data:/d:ro", "busybox", "true", check=False).returncode == 125
    agent.cli("volume", "update", "--snapshot-every", "1h", "--snapshot-keep", "3", "data")
    assert agent.inspect("volume", "data")["Schedule"] == {"EveryS": 3600.0, "Keep": 3}
    clear(agent)


def test_a_digest_by_hand(shared_agent: Agent, tmp_path: Path) -> None:
    archive = tmp_path / "x.tar"
    with tarfile.open(archive, "w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    wrong = shared_agent.cli(
        "volume", "import", "--sha256", "0" * 64, "data", str(archive), check=False
    )
    assert "digest is another" in wrong.stderr
    assert shared_agent.rows("volume", "--all") == []
    shared_agent.cli("volume", "import", "--sha256", digest, "data", str(archive))
    assert sh(shared_agent, "data", "ls /d") == "file"
    clear(shared_agent)

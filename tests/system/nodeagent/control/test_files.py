"""Files of containers from the command line: cp, diff, export, commit, on a real agent.

Covers runtime/files/within.py, nodeagent/control/files.py, nodeagent/rpc/bindings/files.py
"""

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from tests.system.harness.agent import Agent
from tests.system.harness.images import build_tar

SLEEP = ("busybox", "sleep", "1000")
MAKE = (
    "mkdir -p /d/sub; echo one >/d/one; echo two >/d/sub/two; ln -s one /d/link; "
    "chmod 4711 /d/one; rm /bin/vi; echo x >>/etc/passwd"
)


@pytest.fixture
def made(shared_agent: Agent):
    """A container that changed its root and is down, with a volume."""
    agent = shared_agent
    agent.cli("run", "--name", "made", "-v", "vol:/data", "busybox", "sh", "-c", MAKE)
    yield agent
    agent.cli("rm", "-fv", "made")
    agent.cli("volume", "rm", "vol")


@pytest.fixture(params=["down", "up"])
def box(request: pytest.FixtureRequest, shared_agent: Agent):
    """A container that runs, or does not."""
    agent = shared_agent
    agent.cli("create", "--name", "box", "-v", "vol:/data", *SLEEP)
    if request.param == "up":
        agent.cli("start", "box")
    yield agent
    agent.cli("rm", "-f", "box")
    agent.cli("volume", "rm", "vol")


def says(agent: Agent, *args: str) -> str:
    """The complaint of a command that must fail."""
    done = agent.cli(*args, check=False)
    assert done.returncode != 0, args
    return done.stderr


def inside(agent: Agent, path: str) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(agent.pipe("cp", f"box:{path}", "-")))


# --- out ------------------------------------------------------------------------------------------


def test_folders_come_out_as_dockers_do(made: Agent, tmp_path: Path) -> None:
    made.cli("cp", "made:/d", str(tmp_path / "new"))
    assert (tmp_path / "new/sub/two").read_text() == "two\n"
    assert (tmp_path / "new/link").readlink() == Path("one")
    made.cli("cp", "made:/d", str(tmp_path / "new"))
    assert (tmp_path / "new/d/one").read_text() == "one\n"
    (tmp_path / "content").mkdir()
    made.cli("cp", "made:/d/.", str(tmp_path / "content"))
    assert sorted(each.name for each in (tmp_path / "content").iterdir()) == ["link", "one", "sub"]
    assert stat.S_IMODE((tmp_path / "content/one").stat().st_mode) == 0o711, "no setuid here"


def test_files_and_links_come_out(made: Agent, tmp_path: Path) -> None:
    made.cli("cp", "made:d/one", str(tmp_path))
    made.cli("cp", "made:/d/one", str(tmp_path / "other"))
    made.cli("cp", "made:/d/link", str(tmp_path / "kept"))
    made.cli("cp", "-L", "made:/d/link", str(tmp_path / "followed"))
    assert (tmp_path / "one").read_text() == (tmp_path / "other").read_text() == "one\n"
    assert (tmp_path / "kept").is_symlink()
    assert not (tmp_path / "followed").is_symlink()
    assert (tmp_path / "followed").read_text() == "one\n"


def test_what_cannot_be_copied_out_is_told(made: Agent, tmp_path: Path) -> None:
    assert "/nothing" in says(made, "cp", "made:/nothing", str(tmp_path))
    assert "no such folder" in says(made, "cp", "made:/d/one", f"{tmp_path}/none/")
    (tmp_path / "file").touch()
    assert "is a file" in says(made, "cp", "made:/d", str(tmp_path / "file"))
    assert "one of the two" in says(made, "cp", "made:/d", "made:/e")
    assert "nobody" in says(made, "cp", "nobody:/d", str(tmp_path))


def test_a_link_of_the_container_never_leads_to_the_host(box: Agent, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    archive = build_tar({}, links={"lie": str(secret), "up": "../../../../..", "abs": "/"})
    box.pipe("cp", "-", "box:/", data=archive)
    assert str(secret) in says(box, "cp", "-L", "box:/lie", str(tmp_path / "out"))
    assert f"{secret}" in says(box, "cp", f"box:/up{secret}", str(tmp_path / "out"))
    assert f"{secret}" in says(box, "cp", f"box:/abs{secret}", str(tmp_path / "out"))
    box.cli("cp", str(secret), "box:/up/landed")
    assert not Path("/landed").exists()
    assert inside(box, "/landed").getnames() == ["landed"]


# --- in -------------------------------------------------------------------------------------------


def test_files_go_in_and_belong_to_root(box: Agent, tmp_path: Path) -> None:
    (tmp_path / "tree/deep").mkdir(parents=True)
    (tmp_path / "tree/deep/file").write_bytes(os.urandom(300_000))
    os.chown(tmp_path / "tree/deep/file", 1234, 1234)
    box.cli("cp", str(tmp_path / "tree"), "box:/srv")
    box.cli("cp", "-a", str(tmp_path / "tree"), "box:/srv")
    box.cli("cp", f"{tmp_path}/tree/.", "box:/srv/tree/deep")
    archive = inside(box, "/srv")
    found = {each.name: (each.uid, each.size) for each in archive}
    assert found["srv/deep/file"] == (0, 300_000)
    assert found["srv/tree/deep/file"] == (1234, 300_000)
    assert "srv/tree/deep/deep/file" in found
    content = archive.extractfile("srv/deep/file")
    assert content is not None
    assert content.read() == (tmp_path / "tree/deep/file").read_bytes()


def test_volumes_are_written_to(box: Agent, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("kept")
    box.cli("cp", str(tmp_path / "note"), "box:/data")
    assert box.say("run", "--rm", "-v", "vol:/v", "busybox", "cat", "/v/note") == "kept"
    box.cli("cp", "box:/data/note", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "kept"


def test_what_cannot_be_copied_in_is_told(box: Agent, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "no such file" in says(box, "cp", str(tmp_path / "none"), "box:/")
    assert "no such folder" in says(box, "cp", str(tmp_path / "file"), "box:/none/")
    assert "/none" in says(box, "cp", str(tmp_path / "file"), "box:/none/deeper")
    assert "is a file" in says(box, "cp", str(tmp_path), "box:/etc/passwd")
    box.pipe("cp", "-", "box:/", data=build_tar({"both/x": b""}))
    done = box.cli("cp", str(tmp_path / "file"), "box:/both/x/y", check=False)
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("entries", "why"),
    [({"../out": b"x"}, "bad path"), ({"bin": b"x"}, "would replace a folder")],
)
def test_a_hostile_tar_is_refused(box: Agent, entries: dict[str, bytes], why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        box.pipe("cp", "-", "box:/", data=build_tar(entries))
    assert not Path("/out").exists()


def test_a_read_only_place_stays_so(shared_agent: Agent, tmp_path: Path) -> None:
    agent = shared_agent
    (tmp_path / "file").touch()
    agent.cli("run", "-d", "--name", "ro", "--read-only", "-v", f"{tmp_path}:/b:ro", *SLEEP)
    for state in ("up", "down"):
        if state == "down":
            agent.cli("stop", "-t0", "ro")
        for place in ("ro:/", "ro:/b"):
            said = says(agent, "cp", str(tmp_path / "file"), place).lower()
            assert "read-only" in said, (state, place)
    agent.cli("rm", "ro")


# --- what changed ---------------------------------------------------------------------------------


def test_diff_tells_added_changed_deleted_and_no_mount_points(made: Agent) -> None:
    assert made.say("diff", "made").splitlines() == [
        "C /bin",
        "D /bin/vi",
        "A /d",
        "A /d/link",
        "A /d/one",
        "A /d/sub",
        "A /d/sub/two",
        "C /etc",
        "C /etc/passwd",
    ]


def test_a_fresh_container_changed_nothing(box: Agent) -> None:
    assert box.say("diff", "box") == ""


def test_export_is_the_whole_root_without_volumes(made: Agent, tmp_path: Path) -> None:
    made.cli("cp", "/bin/busybox", "made:/data/in-volume")
    made.cli("export", "-o", str(tmp_path / "root.tar"), "made")
    with tarfile.open(tmp_path / "root.tar") as archive:
        names = set(archive.getnames())
    assert {"bin/busybox", "d/sub/two", "data", "etc/passwd"} <= names
    assert not {"bin/vi", "data/in-volume"} & names
    made.cli("import", str(tmp_path / "root.tar"), "again:1")
    assert made.say("run", "--rm", "again:1", "cat", "/d/sub/two") == "two"
    made.cli("rmi", "again:1")
    assert "Invalid" not in says(made, "export", "nobody")


def test_commit_makes_an_image_of_it(made: Agent) -> None:
    change = ("-c", 'CMD ["cat", "/d/one"]', "-c", "ENV A=b", "-c", "LABEL l=m")
    id_ = made.say("commit", "-m", "why", "-a", "who", *change, "made", "mine:v2")
    view = made.inspect("image", "mine:v2")
    assert view["Id"] == id_
    assert view["Config"]["Env"] == ["A=b"]
    assert view["Config"]["Labels"] == {"l": "m"}
    assert len(view["RootFS"]["Layers"]) == 2
    assert "why" in made.say("history", "mine:v2")
    assert made.say("run", "--rm", "mine:v2") == "one"
    assert "x" in made.say("run", "--rm", "mine:v2", "cat", "/etc/passwd")
    assert made.cli("run", "--rm", "mine:v2", "ls", "/bin/vi", check=False).returncode == 1
    made.cli("rmi", "mine:v2")


def test_commit_freezes_what_runs_and_lets_it_go_on(shared_agent: Agent) -> None:
    agent = shared_agent
    agent.cli("run", "-d", "--name", "going", *SLEEP)
    agent.cli("commit", "going", "going:1")
    assert agent.inspect("container", "going")["State"]["Status"] == "running"
    agent.cli("pause", "going")
    agent.cli("commit", "going", "going:2")
    assert agent.inspect("container", "going")["State"]["Status"] == "paused"
    agent.cli("rm", "-f", "going")
    agent.cli("rmi", "going:1", "going:2")

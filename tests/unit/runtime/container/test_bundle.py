from pathlib import Path

import pytest

from runtime.container import bundle
from runtime.container.cgroups import Cgroup, Layout
from runtime.container.spec import Host
from runtime.contract.container import ContainerSpec, MountPoint, ProcessSpec
from runtime.errors import Conflict, Invalid, Missing

HOST = Host(machine="x86_64", capabilities=frozenset())
ID = "ab" * 32
CGROUP = Cgroup(layout=Layout(v1={}, unified=None), path="/c")


def spec(rootfs, **fields):
    process = ProcessSpec(args=("x",), cwd=fields.pop("cwd", "/"))
    return ContainerSpec(
        id=ID, name="n", rootfs=rootfs, process=process, hostname="h", netns="", **fields
    )


@pytest.fixture
def places(tmp_path):
    made = bundle.Places(root=tmp_path / "root", run=tmp_path / "run")
    made.make()
    return made


def test_files_come_and_go_but_logs_stay(places):
    config = {"root": {"path": "/r"}}
    bundle.write(places, ID, config)
    assert bundle.read_config(places, ID) == config
    assert bundle.read_rootfs(config) == Path("/r")
    assert places.ids() == {ID}
    with pytest.raises(Conflict):
        bundle.write(places, ID, config)
    places.log(ID).write_bytes(b"x")
    bundle.remove(places, ID)
    bundle.remove(places, ID)
    assert places.ids() == set()
    assert places.log(ID).exists()
    with pytest.raises(Missing):
        bundle.read_config(places, ID)


def test_state_of_a_runtime_alone_is_found(places):
    (places.state / ID).mkdir()
    (places.state / "somebody-else").mkdir()
    assert places.ids() == {ID}


@pytest.mark.parametrize("name", ["", "../../etc", "AB" * 32, "a" * 63, "a" * 63 + "/"])
def test_bad_ids(name):
    with pytest.raises(Invalid):
        bundle.check_id(name)


def test_devices():
    null = bundle.read_device("/dev/null:/dev/zilch:r")
    assert (null.target, null.type, null.major, null.minor, null.access) == (
        "/dev/zilch",
        "c",
        1,
        3,
        "r",
    )
    assert bundle.read_device("/dev/null").access == "rwm"


@pytest.mark.parametrize("text", ["/dev/none-such", "/tmp", "null", "/dev/null:/x:q", "/a:b:r:w"])
def test_bad_devices(text):
    with pytest.raises(Invalid):
        bundle.read_device(text)


def test_working_directory_is_made_inside_only(tmp_path):
    rootfs, outside = tmp_path / "rootfs", tmp_path / "outside"
    rootfs.mkdir()
    outside.mkdir()
    (rootfs / "evil").symlink_to("../outside")
    (rootfs / "abs").symlink_to(outside)
    bundle.prepare(spec(rootfs, cwd="/a/b"), HOST, CGROUP)
    assert (rootfs / "a/b").is_dir()
    for cwd in ("/evil/x", "/abs/x"):
        with pytest.raises(Invalid):
            bundle.prepare(spec(rootfs, cwd=cwd), HOST, CGROUP)
    assert list(outside.iterdir()) == []


def test_working_directory_in_a_mount_is_left_to_the_runtime(tmp_path):
    mounts = (MountPoint(type="bind", source="/tmp", target="/data"),)
    bundle.prepare(spec(tmp_path, cwd="/data/x", mounts=mounts), HOST, CGROUP)
    assert list(tmp_path.iterdir()) == []


def test_bad_working_directory_and_root(tmp_path):
    (tmp_path / "file").touch()
    for cwd in ("file", "/file"):
        with pytest.raises(Invalid):
            bundle.prepare(spec(tmp_path, cwd=cwd), HOST, CGROUP)
    with pytest.raises(Missing):
        bundle.prepare(spec(tmp_path / "none"), HOST, CGROUP)

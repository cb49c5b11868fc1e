import pytest

from runtime.container.cgroups import Cgroup, Layout
from runtime.container.iolimits import read_io_limits
from runtime.contract.container import IoLimit
from runtime.errors import Invalid


def limit(kind="read_bps", device="/dev/null", value=1):
    return IoLimit(kind=kind, device=device, value=value)


def test_none_asks_the_kernel_nothing(tmp_path):
    cgroup = Cgroup(layout=Layout(v1={"blkio": tmp_path}, unified=None), path="/a/b")
    assert read_io_limits((), cgroup) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["read_bps", "write_bps", "read_iops", "write_iops", "weight"])
def test_a_kernel_without_the_file(tmp_path, kind):
    for v1 in ({}, {"blkio": tmp_path}):
        cgroup = Cgroup(layout=Layout(v1=v1, unified=None), path="/a/b")
        with pytest.raises(Invalid, match="has no blkio") as caught:
            read_io_limits((limit(kind),), cgroup)
        assert caught.value.fields["field"] == "io_limits[0]"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]  # the parent stays, as for all


def test_v2_without_its_controller_and_what_is_no_block_device(tmp_path):
    controllers = tmp_path / "cgroup.controllers"
    controllers.write_text("cpu memory\n")
    cgroup = Cgroup(layout=Layout(v1={}, unified=tmp_path), path="/a/b")
    with pytest.raises(Invalid, match="has no io;"):
        read_io_limits((limit(),), cgroup)
    controllers.write_text("cpu io\n")
    for device, why in (("/dev/null", "not a block device"), ("/dev/none", "no such device")):
        with pytest.raises(Invalid, match=why) as caught:
            read_io_limits((limit(device=device),), cgroup)
        assert caught.value.fields["field"] == "io_limits[0].device"

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.container.cgroups import (
    Cgroup,
    Layout,
    children,
    parse_blkio_v1,
    parse_flat,
    parse_io_v2,
    parse_mountinfo,
    parse_value,
    set_conmon_apart,
)

HYBRID = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
30 29 0:25 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
31 29 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 29 0:27 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,name=systemd
33 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
34 29 0:26 / /elsewhere rw - cgroup cgroup rw,memory
"""


def test_hybrid_host():
    layout = parse_mountinfo(HYBRID)
    assert layout.is_hybrid
    assert not layout.is_v2
    assert layout.root("cpuacct") == Path("/sys/fs/cgroup/cpu")
    assert layout.root("memory") == Path("/sys/fs/cgroup/memory")
    assert layout.root("io") is None
    assert len(layout.roots()) == 4


def test_v2_host():
    layout = parse_mountinfo("33 29 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    assert layout.is_v2
    assert layout.roots() == [Path("/sys/fs/cgroup")]
    assert layout.root("anything") == Path("/sys/fs/cgroup")


@given(st.text(max_size=200))
def test_any_mountinfo_gives_a_layout(text):
    assert isinstance(parse_mountinfo(text), Layout)


@pytest.mark.parametrize(
    ("text", "value"),
    [("12\n", 12), ("max\n", -1), ("9223372036854771712", -1), ("", -1), ("-1", -1), ("x", -1)],
)
def test_values(text, value):
    assert parse_value(text) == value


def test_flat_lines():
    assert parse_flat("oom 1\noom_kill 2\nbroken\nx y\n") == {"oom": 1, "oom_kill": 2}


def test_block_io():
    v1 = "8:0 Read 4096\n8:0 Write 1\n8:16 Read 4\n8:16 Total 5\nTotal 9\n"
    assert parse_blkio_v1(v1) == (4100, 1)
    assert parse_io_v2("8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2\n\n") == (11, 22)


@given(st.text(max_size=100))
def test_parsers_take_anything(text):
    parse_flat(text), parse_value(text), parse_blkio_v1(text), parse_io_v2(text)


def write(path, **files):
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text, encoding="ascii")


def test_usage_of_v2(tmp_path):
    write(
        tmp_path / "a/x",
        cpu__stat="usage_usec 5\nuser_usec 3\nsystem_usec 2\nthrottled_usec 7\n",
        memory__current="100\n",
        memory__max="max\n",
        memory__peak="200\n",
        memory__stat="file 60\ninactive_file 50\n",
        memory__events="oom 3\noom_kill 1\n",
        pids__current="2\n",
        pids__max="10\n",
        io__stat="8:0 rbytes=1 wbytes=2\n",
        cgroup__events="populated 1\nfrozen 1\n",
        cgroup__procs="7\n8\n",
    )
    cgroup = Cgroup(layout=Layout(v1={}, unified=tmp_path), path="/a/x")
    usage = cgroup.read_usage()
    assert (usage.cpu_ns, usage.cpu_user_ns, usage.throttled_ns) == (5000, 3000, 7000)
    assert (usage.memory_bytes, usage.memory_limit_bytes, usage.memory_cache_bytes) == (100, -1, 50)
    assert (usage.pids, usage.pids_limit, usage.oom_events) == (2, 10, 1)
    assert (usage.blkio_read_bytes, usage.blkio_write_bytes) == (1, 2)
    assert cgroup.is_frozen()
    assert cgroup.read_pids() == [7, 8]
    assert cgroup.read_oom_kills() == 1
    cgroup.set_frozen(frozen=False)
    assert (tmp_path / "a/x/cgroup.freeze").read_text("ascii") == "0"
    assert children(cgroup.layout, "/a") == {"x"}


def test_nothing_there_is_unknown_not_an_error(tmp_path):
    cgroup = Cgroup(layout=Layout(v1={"memory": tmp_path}, unified=None), path="/a/x")
    assert cgroup.read_usage().memory_bytes == -1
    assert cgroup.read_pids() == []
    assert not cgroup.is_frozen()
    cgroup.remove()
    assert children(cgroup.layout, "/a") == set()


def test_a_conmon_is_put_beside_the_containers(tmp_path):
    layout = Layout(v1={}, unified=tmp_path)
    (tmp_path / "agent").mkdir()
    set_conmon_apart(layout, "agent", 17)
    assert (tmp_path / "agent/conmon/cgroup.procs").read_text(encoding="ascii") == "17"


def test_a_conmon_that_cannot_be_moved_stays_where_it_is(tmp_path):
    (tmp_path / "agent").write_text("not a directory", encoding="ascii")
    set_conmon_apart(Layout(v1={}, unified=tmp_path), "agent", 17)
    assert [path.name for path in tmp_path.iterdir()] == ["agent"]


def test_beside_v1_a_conmon_is_not_moved(tmp_path):
    layout = Layout(v1={"pids": tmp_path / "pids"}, unified=tmp_path / "unified")
    set_conmon_apart(layout, "agent", 17)
    assert list(tmp_path.iterdir()) == []


def test_no_pid_of_a_conmon_does_not_move_the_agent(tmp_path):
    set_conmon_apart(Layout(v1={}, unified=tmp_path), "agent", 0)
    assert list(tmp_path.iterdir()) == []

import time

import pytest
import trio

from runtime.container import oci
from runtime.container.lifecycle import ContainerRuntime
from runtime.errors import Unavailable


async def test_no_runtime_is_unavailable_and_names_what_was_tried(tmp_path, monkeypatch):
    monkeypatch.setattr("runtime.container.oci.CHILD_PATH", str(tmp_path))
    rt = ContainerRuntime(tmp_path / "root", tmp_path / "run", cgroup_parent="x")
    with pytest.raises(Unavailable, match="conmon"):
        await rt.open()
    with pytest.raises(Unavailable):
        rt.runtime_name()


async def test_probe_is_quick_and_leaves_nothing(box):
    began = time.perf_counter()
    again = box.another()
    await again.open()
    assert time.perf_counter() - began < 2  # some 50 ms; the machine may be busy
    assert again.runtime_name().split()[0] == box.runtime
    assert box.leaks() == []
    assert list((box.base / "run/tmp").iterdir()) == []


async def test_runtime_that_cannot_create_is_refused_with_its_words(tmp_path, monkeypatch):
    for name in ("crun", "runc"):
        fake = tmp_path / name
        fake.write_text("#!/bin/sh\necho not today; exit 1\n", encoding="ascii")
        fake.chmod(0o755)
    monkeypatch.setattr(oci, "CHILD_PATH", f"{tmp_path}:{oci.CHILD_PATH}")
    rt = ContainerRuntime(tmp_path / "root", tmp_path / "run", cgroup_parent="ctrtest-none")
    with pytest.raises(Unavailable, match="not today"):
        await rt.open()


async def test_first_that_works_is_taken(box, tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "crun").write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
    (broken / "crun").chmod(0o755)
    monkeypatch.setattr(oci, "CHILD_PATH", f"{broken}:{oci.CHILD_PATH}")
    box.runtime = "auto"
    again = box.another()
    with trio.fail_after(10):
        await again.open()
    assert again.runtime_name().startswith("runc")

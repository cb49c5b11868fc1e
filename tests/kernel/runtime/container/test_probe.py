import time

import pytest
import trio

from runtime.container import oci
from runtime.container.lifecycle import ContainerRuntime
from runtime.errors import Unavailable


def runtime_on(path):
    return ContainerRuntime(path / "root", path / "run", cgroup_parent="ctrtest-none")


async def test_no_conmon_is_unavailable_and_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(oci, "CHILD_PATH", str(tmp_path))
    rt = runtime_on(tmp_path)
    await rt.open()
    assert await rt.scan() == []
    with pytest.raises(Unavailable, match="apt install conmon"):
        rt.runtime_name()


async def test_runtime_installed_later_is_found(box, tmp_path, monkeypatch):
    path = oci.CHILD_PATH
    monkeypatch.setattr(oci, "CHILD_PATH", str(tmp_path / "none"))
    box.rt = box.another()
    await box.rt.open()
    with pytest.raises(Unavailable):
        await box.run("true")
    assert box.leaks() == []
    monkeypatch.setattr(oci, "CHILD_PATH", path)
    assert (await box.finish(await box.run("true"))).code == 0
    assert box.rt.runtime_name().startswith(box.runtime)


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
    rt = runtime_on(tmp_path)
    await rt.open()
    with pytest.raises(Unavailable, match=r"crun: .*not today.*runc: .*not today"):
        rt.runtime_name()


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

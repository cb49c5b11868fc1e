"""A container runtime of its own for each test, and proof that nothing is left afterwards."""

import os
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from runtime.container import supervisor
from runtime.container.lifecycle import ContainerRuntime
from runtime.contract.container import ContainerSpec, ProcessSpec
from runtime.contract.logs import Query

APPLETS = """cat dd echo env grep head id kill ls mkdir pwd seq sh sleep stat stty touch tr true
unshare yes""".split()  # noqa: SIM905


def conmons_of(path: Path) -> list[str]:
    """Command lines of processes that mention ``path``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(path) in line and supervisor.read_ticks(int(entry.name)):
                found.append(line)
    return found


@dataclass
class Box:
    """One agent's runtime on temporary directories."""

    base: Path
    rootfs: Path
    runtime: str
    parent: str
    made: list[str] = field(default_factory=list)

    def another(self) -> ContainerRuntime:
        return ContainerRuntime(
            self.base / "root", self.base / "run", cgroup_parent=self.parent, runtime=self.runtime
        )

    async def open(self) -> ContainerRuntime:
        self.rt = self.another()
        await self.rt.open()
        return self.rt

    def spec(self, *args, **fields) -> ContainerSpec:
        names = ProcessSpec.__dataclass_fields__
        process = ProcessSpec(args=args, **{k: fields.pop(k) for k in list(fields) if k in names})
        made = secrets.token_hex(32)
        self.made.append(made)
        fields = {"hostname": "box", "netns": "", "name": "test", **fields}
        return ContainerSpec(id=made, rootfs=self.rootfs, process=process, **fields)

    async def run(self, *args, **fields) -> str:
        spec = self.spec(*args, **fields)
        await self.rt.create(spec)
        await self.rt.start(spec.id)
        return spec.id

    async def finish(self, container_id: str):
        with trio.fail_after(20):
            return await self.rt.wait_exit(container_id)

    async def log(self, container_id: str, **query) -> bytes:
        lines = self.rt.logbook.read(container_id, Query(**query))
        return b"".join([line.data async for line in lines])

    async def output(self, *args, **fields) -> str:
        container_id = await self.run(*args, **fields)
        await self.finish(container_id)
        return (await self.log(container_id)).decode()

    def cgroups(self) -> list[Path]:
        return list(Path("/sys/fs/cgroup").glob(f"*/{self.parent}/*/")) + [
            path for path in Path("/sys/fs/cgroup").glob(f"{self.parent}/*/") if path.is_dir()
        ]

    def remove_parent(self) -> None:
        for path in Path("/sys/fs/cgroup").glob(f"**/{self.parent}"):
            path.rmdir()

    def leaks(self) -> list[str]:
        """What is still there although every container was deleted."""
        found = [str(path) for path in self.cgroups()]
        found += conmons_of(self.base)
        for top in (
            self.base / "run" / "ctr",
            self.base / "run" / "oci",
            self.base / "run" / "exec",
            self.base / "run" / "probe",
        ):
            found += [str(path) for path in top.iterdir()]
        found += [str(path) for path in (self.base / "root/containers").glob("*/bundle")]
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        found += [line for line in mounts.splitlines() if str(self.base) in line]
        return found


def make_rootfs(path: Path) -> Path:
    for name in ("bin", "etc", "tmp", "data"):
        (path / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", path / "bin/busybox")
    for applet in APPLETS:
        (path / "bin" / applet).symlink_to("busybox")
    (path / "etc/passwd").write_text(
        "root:x:0:0::/root:/bin/sh\nbob:x:1000:1001::/home/bob:/bin/sh\n"
    )
    (path / "etc/group").write_text("root:x:0:\nbobs:x:1001:\nwheel:x:10:bob\ndisk:x:6:\n")
    return path


@pytest.fixture(params=["crun", "runc"])
async def box(request, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for name in (request.param, "conmon", "busybox"):
        if shutil.which(name) is None:
            pytest.skip(f"needs {name}")
    parent = f"ctrtest-{secrets.token_hex(4)}"
    made = Box(tmp_path, make_rootfs(tmp_path / "rootfs"), request.param, parent)
    try:
        await made.open()
        yield made
    finally:
        with trio.CancelScope(shield=True), trio.fail_after(30):
            for container_id in made.made:
                await made.rt.delete(container_id)
            leaks = made.leaks()
            made.remove_parent()
        assert leaks == []

"""Choosing the OCI runtime: each candidate must make a real container here before it is trusted."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import trio

from runtime.container import bundle, ending, oci
from runtime.container.cgroups import Cgroup, Layout
from runtime.container.filters import Filters
from runtime.container.oci import Kind, Oci
from runtime.container.spec import Host, Json
from runtime.contract.container import ContainerSpec, Limits, ProcessSpec
from runtime.errors import RunError, Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where and with what a candidate is tried."""

    places: bundle.Places
    layout: Layout
    host: Host
    cgroup_parent: str
    filters: Filters


def _candidates(wanted: str, layout: Layout) -> Iterator[tuple[Kind, tuple[str, ...]]]:
    """Runtimes and wrappers, best first."""
    if wanted in {"auto", "crun"}:
        # beside v1, an empty v2 hierarchy is no hindrance; one with controllers is
        unified = layout.unified if layout.is_hybrid else None
        if unified is not None and (unified / "cgroup.controllers").read_text("ascii").strip():
            yield "crun", oci.hide_unified(unified)
        else:
            yield "crun", ()
    if wanted in {"auto", "runc"}:
        yield "runc", ()


CLEAN_S: Final = 5.0  # guess: killing one process and removing its cgroup takes some ms


async def choose(wanted: str, site: Site) -> Oci:
    """The first runtime that can create a container here; about 20 ms.

    Args:
        wanted: "auto", "crun" or "runc".

    Raises:
        Unavailable: none can; the message names what was tried and why not.
    """
    reasons: list[str] = []
    for kind, prefix in _candidates(wanted, site.layout):
        try:
            path = oci.find_binary(kind, package=kind)
            version = await oci.read_version(path, site.places.state)
            runtime = Oci(
                kind=kind, version=version, path=path, prefix=prefix, state=site.places.state
            )
            await _try(runtime, site)
        except RunError as exc:
            reasons.append(f"{kind}: {exc}")
        else:
            return runtime
    raise Unavailable("find an OCI runtime that works here", tried="; ".join(reasons) or wanted)


async def _try(runtime: Oci, site: Site) -> None:
    name = secrets.token_hex(32)
    cgroup = Cgroup(layout=site.layout, path=f"/{site.cgroup_parent}/{name}")
    directory = site.places.temporary / f"probe-{name[:8]}"
    try:
        config = _write(directory, site, name, cgroup)
        done = await oci.run([*runtime.argv, "create", "--bundle", str(directory), name])
        if done.code:
            raise Unavailable("create a container", runtime=runtime.name, says=done.tail)
        site.filters.learn(config, site.places.state / name)
    finally:
        with trio.move_on_after(CLEAN_S, shield=True):
            await ending.clear(cgroup)
        bundle.remove_tree(site.places.state / name)
        bundle.remove_tree(directory)


def _write(directory: Path, site: Site, name: str, cgroup: Cgroup) -> Json:
    """A bundle whose program only has to look executable: it is created, never started."""
    rootfs = directory / "rootfs"
    rootfs.mkdir(parents=True)
    program = rootfs / "probe"
    program.write_bytes(b"#!/probe\n")
    program.chmod(0o755)
    spec = ContainerSpec(
        id=name,
        name="probe",
        rootfs=rootfs,
        process=ProcessSpec(args=("/probe",)),
        hostname="probe",
        netns="",
        limits=Limits(pids=16),
    )
    config = bundle.prepare(spec, site.host, cgroup)
    (directory / bundle.CONFIG).write_bytes(msgspec.json.encode(config))
    return config

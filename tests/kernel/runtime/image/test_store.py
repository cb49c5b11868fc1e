"""The store against real parts: Debian's registry, skopeo, a full disk, kill -9."""

import ctypes
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from runtime import errors
from runtime.image.auth import Credentials
from runtime.image.http import HttpOptions
from runtime.image.registry import RegistryOptions
from runtime.imageconfig import ImageConfig
from tests.fakes.debian_registry import debian_registry, make_secrets
from tests.fakes.registry import fake_registry
from tests.fakes.registry_images import (
    build_image,
    build_list,
    busybox_tar,
    docker_save,
    sha,
    tar_of,
)
from tests.fakes.registry_store import Upload, files, ignore, nobody, opened, skopeo

NOISE = os.urandom(3 << 20)


ONE = tar_of(("a", b"first"), ("noise", NOISE))


TWO = tar_of(("b", b"second"))


def write_layout(folder: Path, body: bytes, kind: str, blobs: dict[str, bytes]) -> None:
    (folder / "blobs/sha256").mkdir(parents=True)
    for digest, data in {**blobs, sha(body): body}.items():
        (folder / "blobs/sha256" / digest[7:]).write_bytes(data)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    notes = {"org.opencontainers.image.ref.name": "x"}
    row = {"mediaType": kind, "digest": sha(body), "size": len(body), "annotations": notes}
    index = {"schemaVersion": 2, "manifests": [row]}
    (folder / "index.json").write_text(json.dumps(index))


async def test_real_registry(tmp_path):
    image = build_image([busybox_tar(), TWO])
    zstd = build_image([ONE], form="+zstd")
    other = build_image([TWO], architecture="arm64", variant="v8")
    both = build_list({"linux/amd64": image, "linux/arm64/v8": other})
    kind = "application/vnd.oci.image.index.v1+json"
    docs = {one.digest: one.manifest for one in (image, other)}
    write_layout(tmp_path / "list", both, kind, {**image.blobs, **other.blobs, **docs})
    write_layout(tmp_path / "zstd", zstd.manifest, zstd.media_type, zstd.blobs)
    with debian_registry(tmp_path) as port:
        at = f"docker://127.0.0.1:{port}"
        flags = ("--dest-tls-verify=false", "-q")
        skopeo("copy", "--all", *flags, f"oci:{tmp_path}/list:x", f"{at}/demo/list:1")
        skopeo("copy", *flags, f"oci:{tmp_path}/zstd:x", f"{at}/demo/zstd:1")
        skopeo("copy", *flags, "--format=v2s2", f"oci:{tmp_path}/list:x", f"{at}/demo/docker:1")
        store = await opened(tmp_path / "root")
        name = f"127.0.0.1:{port}/demo"
        one = await store.pull(f"{name}/list:1", platform="", progress=ignore)
        assert (one.id, one.manifest_digest, one.index_digest) == (
            image.id,
            image.digest,
            sha(both),
        )
        arm = await store.pull(f"{name}/list:1", platform="linux/arm64/v8", progress=ignore)
        assert arm.id == other.id
        two = await store.pull(f"{name}/zstd:1", platform="", progress=ignore)
        assert (store.layer_paths(two)[0] / "noise").read_bytes() == NOISE
        three = await store.pull(f"{name}/docker:1", platform="", progress=ignore)
        assert three.diff_ids == one.diff_ids
        by_digest = await store.pull(f"{name}/list@{image.digest}", platform="", progress=ignore)
        assert by_digest.id == one.id
        with pytest.raises(errors.Missing):
            await store.pull(f"{name}/list:2", platform="", progress=ignore)
        with pytest.raises(errors.Missing):
            await store.pull(f"{name}/nothing:1", platform="", progress=ignore)
    # And another tool reads the store as the layout it is.
    said = json.loads(skopeo("inspect", "--config", f"oci:{tmp_path}/root/images:{name}/zstd:1"))
    assert said["rootfs"]["diff_ids"] == list(two.diff_ids)
    copied = tmp_path / "copied.tar"
    skopeo(
        "copy", "-q", f"oci:{tmp_path}/root/images:{name}/docker:1", f"docker-archive:{copied}:x:1"
    )
    again = await opened(tmp_path / "again")
    assert [
        one.diff_ids for one in await again.load(Upload(copied.read_bytes()), progress=ignore)
    ] == [three.diff_ids]
    await again.rm("x:1", force=False, users=nobody)
    assert files(tmp_path / "again") == set()


async def test_tls_and_password(tmp_path):
    make_secrets(tmp_path)
    tls = {"certificate": str(tmp_path / "crt"), "key": str(tmp_path / "key")}
    auth = {"htpasswd": {"realm": "r", "path": str(tmp_path / "passwd")}}
    image = build_image([TWO])
    write_layout(tmp_path / "x", image.manifest, image.media_type, image.blobs)
    with debian_registry(tmp_path, {"tls": tls}, auth=auth) as port:
        skopeo(
            "copy", "-q", "--dest-tls-verify=false", "--dest-creds=user:pass",
            f"oci:{tmp_path}/x:x", f"docker://127.0.0.1:{port}/x:1",
        )  # fmt: skip
        name = f"127.0.0.1:{port}/x:1"
        good, bad = (
            {f"127.0.0.1:{port}": Credentials(user="user", password=one)} for one in ("pass", "no")
        )
        trusting = HttpOptions(ca_file=tmp_path / "crt")
        for number, options in enumerate(
            (
                RegistryOptions(credentials=good),
                RegistryOptions(http=trusting),
                RegistryOptions(http=trusting, credentials=bad),
            )
        ):
            store = await opened(tmp_path / f"bad{number}", registry=options)
            with pytest.raises(errors.Refused):
                await store.pull(name, platform="", progress=ignore)
        options = RegistryOptions(http=trusting, credentials=good)
        store = await opened(tmp_path / "root", registry=options)
        assert (await store.pull(name, platform="", progress=ignore)).id == image.id


@pytest.mark.parametrize("size_mb", [2, 5, 8])
async def test_disk_full(tmp_path, size_mb):
    """Full while downloading, while unpacking, and just enough for one of two layers."""
    disk = tmp_path / "disk"
    disk.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    data = f"size={size_mb}m".encode()
    assert libc.mount(b"tmpfs", os.fsencode(disk), b"tmpfs", 0, data) == 0, ctypes.get_errno()
    try:
        store = await opened(disk)
        image = build_image([ONE, tar_of(("other", os.urandom(3 << 20)))])
        async with fake_registry() as registry:
            registry.add("1", image)
            with pytest.raises(errors.Exhausted):
                await store.pull(registry.name(), platform="", progress=ignore)
        assert files(disk) == set()
        with pytest.raises(errors.Exhausted):
            await store.load(Upload(docker_save({"x:1": image})), progress=ignore)
        assert files(disk) == set()
        config = ImageConfig()
        await store.import_rootfs(Upload(TWO), ref="small", config=config, message="", created="")
        assert [one.repo_tags for one in store.ls()] == [("small:latest",)]
    finally:
        libc.umount2(os.fsencode(disk), 2)


CHILD = """
import sys, trio
from pathlib import Path
from runtime.image.store import ImageStore
async def main():
    store = ImageStore(Path(sys.argv[1]))
    await store.open()
    print("open", flush=True)
    def tell(step):
        print(step.status, step.current_bytes, flush=True)
    await store.pull(sys.argv[2], platform="", progress=tell)
    print("pulled", flush=True)
trio.run(main)
"""


@pytest.mark.parametrize(
    "at", ["resolving", "waiting", "downloading", "extracting", "done", "pulled"]
)
async def test_killed_in_the_middle(tmp_path, at):
    """kill -9 at some moment of a pull; the next start has the whole image or none of it."""
    image = build_image([ONE, TWO])
    async with fake_registry() as registry:
        registry.add("1", image)
        async with trio.open_nursery() as nursery:
            run = partial(
                trio.run_process,
                [sys.executable, "-c", CHILD, str(tmp_path), registry.name()],
                stdout=subprocess.PIPE,
                check=False,
                env={**os.environ, "PYTHONPATH": str(Path.cwd())},
            )
            child = await nursery.start(run)
            said = b""
            while at.encode() not in said:
                said += (piece := await child.stdout.receive_some())
                assert piece, said
            child.send_signal(signal.SIGKILL)
        store = await opened(tmp_path)
        assert list((tmp_path / "images/tmp").iterdir()) == []
        if at == "pulled" or store.ls():
            assert store.get(registry.name()).id == image.id
        else:
            assert files(tmp_path) == set() - (
                {"index.json"} if not (tmp_path / "images/index.json").exists() else set()
            )
            assert store.used_bytes() == 0
        assert (await store.pull(registry.name(), platform="", progress=ignore)).id == image.id


async def test_names_move_and_go(tmp_path):
    store = await opened(tmp_path)

    async def made(tar: bytes, ref: str, created: str):
        config = ImageConfig()
        return await store.import_rootfs(
            Upload(tar), ref=ref, config=config, message="", created=created
        )

    old = await made(ONE, "app", "2026-01-01T00:00:00Z")
    new = await made(TWO, "app", "2026-01-02T00:00:00.123456789Z")
    assert store.get("app") == new
    assert store.get(old.id).repo_tags == ()
    assert [image.id for image in store.ls()] == [new.id, old.id]
    await store.tag(old.id[7:19], "other:1")
    await store.tag("other:1", "localhost:5000/x")
    with pytest.raises(errors.Conflict):
        await store.rm(old.id, force=False, users=nobody)
    with pytest.raises(errors.Busy):
        await store.rm(new.id, force=True, users=lambda _id: ["web"])
    assert (await store.rm("other:1", force=False, users=lambda _id: ["web"])).untagged == (
        "other:1",
    )
    gone = await store.rm(old.id, force=False, users=nobody)
    assert gone.deleted == (old.id,)
    with pytest.raises(errors.Missing):
        store.get("other:1")
    assert (await opened(tmp_path)).ls() == store.ls() == [store.get("app")]
    assert len(files(tmp_path)) == 3 + 2  # blobs; layer.json and one file


async def test_a_failed_index_write_changes_nothing(tmp_path):
    store = await opened(tmp_path)
    config = ImageConfig()
    image = await store.import_rootfs(Upload(TWO), ref="a", config=config, message="", created="")
    (tmp_path / "images/.index.json.new").mkdir()
    with pytest.raises(errors.Refused):
        await store.tag("a", "b")
    with pytest.raises(errors.Refused):
        await store.rm("a", force=False, users=nobody)
    assert store.ls() == [image]
    assert (store.layer_paths(image)[0] / "b").exists()


async def test_a_damaged_image_is_set_aside_and_nothing_is_deleted(tmp_path, caplog):
    """A layer may be mounted under a running container: damage is no reason to remove it."""
    store = await opened(tmp_path)
    config = ImageConfig()
    for ref, tar in (("one", ONE), ("two", TWO)):
        await store.import_rootfs(Upload(tar), ref=ref, config=config, message="", created="")
    layer = store.layer_paths(store.get("one"))[0].parent
    content = (layer / "layer.json").read_bytes()
    before = files(tmp_path)
    (layer / "layer.json").write_bytes(b"")
    again = await opened(tmp_path)
    assert [one.repo_tags for one in again.ls()] == [("two:latest",)]
    assert "set aside" in caplog.text
    await again.tag("two", "three")  # writes the index
    assert files(tmp_path) == before
    (layer / "layer.json").write_bytes(content)
    mended = await opened(tmp_path)
    assert mended.get("one").repo_tags == ("one:latest",)


async def test_what_a_write_of_the_index_left_is_removed(tmp_path):
    store = await opened(tmp_path)
    left = next(tmp_path.rglob("oci-layout")).with_name(".index.json.new")
    left.write_text('{"half')
    await store.open()
    assert not left.exists()

"""What leaves this host, read by others: Debian's registry and skopeo.

Covers runtime/image/parcel.py, runtime/image/save.py, runtime/image/blobstream.py,
runtime/image/together.py
"""

import io
import json
import tarfile

import pytest

from runtime import errors
from runtime.contract.image import Commit, Login
from runtime.image.push import Pusher
from runtime.image.reference import parse_reference
from runtime.image.registry import RegistryOptions, open_registry
from runtime.imageconfig import ImageConfig
from tests.fakes.debian_registry import debian_registry, make_secrets
from tests.fakes.registry_images import build_image, docker_save, oci_archive, tar_of
from tests.fakes.registry_store import Upload, ignore, nobody, opened, skopeo

ONE, TWO = tar_of(("a", b"first" * 100_000)), tar_of(("b", b"second"))
PLAIN = ("--tls-verify=false",)


async def filled(root, *tags):
    """A store with one image of two layers."""
    store = await opened(root)
    image = build_image([ONE, TWO])
    loaded = await store.load(Upload(docker_save({tags[0]: image})), progress=ignore)
    for tag in tags[1:]:
        await store.tag(tags[0], tag)
    return store, loaded[0]


def manifest_of(port: int, name: str) -> dict:
    return json.loads(skopeo("inspect", "--raw", *PLAIN, f"docker://127.0.0.1:{port}/{name}"))


async def test_what_is_pushed_others_read_and_nothing_goes_twice(tmp_path):
    with debian_registry(tmp_path) as port:
        name = f"127.0.0.1:{port}/demo/app"
        store, image = await filled(tmp_path / "root", f"{name}:1", f"{name}:2", f"{name}x:1")
        seen: list[str] = []
        digest = await store.push(f"{name}:1", progress=lambda one: seen.append(one.status))
        assert digest == image.manifest_digest
        assert seen.count("done") == 3
        assert [each["digest"] for each in manifest_of(port, "demo/app:1")["layers"]] == list(
            image.layer_digests
        )
        skopeo("copy", "-q", "--src-tls-verify=false", f"docker://{name}:1", f"dir:{tmp_path}/out")
        seen.clear()
        assert await store.push(f"{name}:2", progress=lambda one: seen.append(one.status)) == digest
        assert set(seen) == {"checking", "exists"}
        seen.clear()
        assert await store.push(f"{name}x:1", progress=lambda one: seen.append(one.status))
        assert seen.count("mounted") == 3, "the layers are in the same registry already"
        again = await opened(tmp_path / "again")
        pulled = await again.pull(f"{name}x:1", platform="", progress=ignore)
        assert (pulled.id, pulled.manifest_digest) == (image.id, digest)


async def test_a_committed_layer_is_pushed_and_comes_back(tmp_path):
    with debian_registry(tmp_path) as port:
        name = f"127.0.0.1:{port}/demo/child:1"
        store, parent = await filled(tmp_path / "root", "base:1")
        draft = Commit(
            config=ImageConfig(cmd=("/c",)),
            created="2026-01-01T00:00:00Z",
            created_by="x",
            ref=name,
        )
        child = await store.commit(parent, Upload(tar_of(("c", b"third"))), draft)
        await store.rm("base:1", force=False, users=nobody)
        await store.push(name, progress=ignore)
        again = await opened(tmp_path / "again")
        pulled = await again.pull(name, platform="", progress=ignore)
        assert pulled.id == child.id
        assert pulled.diff_ids[:2] == parent.diff_ids
        assert (again.layer_paths(pulled)[2] / "c").read_bytes() == b"third"


@pytest.mark.parametrize("breaks", [0, 2])
async def test_a_large_blob_goes_in_pieces_and_on_where_it_broke(tmp_path, breaks):
    with debian_registry(tmp_path) as port:
        name = f"127.0.0.1:{port}/demo/big:1"
        store, image = await filled(tmp_path / "root", name)
        ref, options = parse_reference(name), RegistryOptions(wait_s=0.01)
        asked: list[tuple[str, str]] = []
        async with open_registry(ref, options, actions="pull,push") as registry:
            send = registry.send
            left = breaks

            async def flaky(method, url, headers, **rest):
                nonlocal left
                asked.append((method, headers.get("Content-Range", "")))
                if method == "PATCH" and left and not headers["Content-Range"].startswith("0-"):
                    left -= 1
                    raise errors.Unavailable("talk to registry", why="cut by the test")
                return await send(method, url, headers, **rest)

            registry.send = flaky
            pusher = Pusher(registry=registry, sources=(), report=ignore, chunk_bytes=300)
            async with store._depot.hold() as held:
                parcel = await store._parcel(image, held)
                assert await pusher.push(parcel, "1") == image.manifest_digest
        ranges = [span for method, span in asked if method == "PATCH"]
        sizes = [blob.size_bytes for blob in (*parcel.layers, parcel.config)]
        pieces = sum(-(-size // 300) for size in sizes if size > 300)
        assert len(ranges) == pieces + breaks, "only what broke is sent again"
        assert sum(method == "GET" for method, _ in asked) == breaks
        assert len(manifest_of(port, "demo/big:1")["layers"]) == 2


async def test_a_login_is_checked_and_pushes(tmp_path):
    make_secrets(tmp_path)
    auth = {"htpasswd": {"realm": "r", "path": str(tmp_path / "passwd")}}
    with debian_registry(tmp_path, auth=auth) as port:
        domain = f"127.0.0.1:{port}"
        store, image = await filled(tmp_path / "root", f"{domain}/a:1")
        good, bad = Login(user="user", password="pass"), Login(user="user", password="no")
        await store.login(domain, good)
        for login in (bad, Login(user="", password="")):
            with pytest.raises(errors.Refused):
                await store.login(domain, login)
        for login in (None, bad):
            with pytest.raises(errors.Refused, match="login"):
                await store.push(f"{domain}/a:1", progress=ignore, login=login)
        digest = await store.push(f"{domain}/a:1", progress=ignore, login=good)
        assert digest == image.manifest_digest
        with pytest.raises(errors.Refused, match="login"):
            await store.pull(f"{domain}/a:1", platform="", progress=ignore)
        assert await store.pull(f"{domain}/a:1", platform="", progress=ignore, login=good)


async def test_what_cannot_be_pushed_is_told(tmp_path):
    store, _ = await filled(tmp_path / "root", "127.0.0.1:1/a:1")
    for name, kind in (
        ("127.0.0.1:1/other:1", errors.Missing),
        ("b@sha256:" + "0" * 64, errors.Invalid),
        ("127.0.0.1:1/a:1", errors.Unavailable),
    ):
        with pytest.raises(kind):
            await store.push(name, progress=ignore)
    with pytest.raises(errors.Unavailable):
        await store.login("127.0.0.1:1", Login(user="u", password="p"))


# --- archives -------------------------------------------------------------------------------------


async def archive(store, *names) -> bytes:
    async with store.save(names) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_an_archive_of_two_images_is_read_by_others_and_by_us(tmp_path):
    store, image = await filled(tmp_path / "root", "one:1", "one:2")
    other = build_image([ONE])
    await store.load(Upload(docker_save({"two:1": other})), progress=ignore)
    data = await archive(store, "one:1", "one:2", "two:1")
    (tmp_path / "all.tar").write_bytes(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as read:
        names = read.getnames()
    assert len(names) == len(set(names)), "what images share is there once"
    for form in ("docker-archive", "oci-archive"):
        kind = f"{form}:{tmp_path}/all.tar" + (":one:2" if form == "docker-archive" else ":2")
        said = json.loads(skopeo("inspect", "--config", kind))
        assert said["rootfs"]["diff_ids"] == list(image.diff_ids)
    again = await opened(tmp_path / "again")
    loaded = await again.load(Upload(data), progress=ignore)
    assert {each.id for each in loaded} == {image.id, other.id}
    assert again.get("one:1").id == again.get("one:2").id == image.id
    assert again.get("one:1").manifest_digest == image.manifest_digest


async def test_an_image_saved_by_its_id_has_no_name(tmp_path):
    store, image = await filled(tmp_path / "root", "one:1")
    again = await opened(tmp_path / "again")
    (loaded,) = await again.load(Upload(await archive(store, image.id)), progress=ignore)
    assert (loaded.id, loaded.repo_tags) == (image.id, ())
    with pytest.raises(errors.Missing):
        await archive(store, "one:1", "none:1")


async def test_a_layer_that_came_in_another_compression_leaves_in_the_one_we_have(tmp_path):
    store, first = await filled(tmp_path / "root", "one:1")
    twin = build_image([ONE, TWO], form="+zstd", run={"Cmd": ["/other"]})
    (tmp_path / "twin.tar").write_bytes(oci_archive(twin, "twin:1"))
    (second,) = await store.load(Upload((tmp_path / "twin.tar").read_bytes()), progress=ignore)
    assert second.diff_ids == first.diff_ids
    assert second.layer_digests != first.layer_digests
    again = await opened(tmp_path / "again")
    (loaded,) = await again.load(Upload(await archive(store, second.id)), progress=ignore)
    assert loaded.id == second.id
    assert loaded.layer_digests == first.layer_digests

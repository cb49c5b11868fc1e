"""Pulling what a registry has, and refusing what it must not have."""

import gzip
import json
import os
import tarfile

import pytest
import trio

from runtime import errors
from runtime.image.store import ImageStore
from runtime.image.untar import Limits
from tests.fakes.registry import fake_registry
from tests.fakes.registry_images import (
    build_image,
    build_list,
    entry,
    sha,
    tar_of,
)
from tests.fakes.registry_store import files, ignore, opened

NOISE = os.urandom(3 << 20)


ONE = tar_of(("a", b"first"), ("noise", NOISE))


TWO = tar_of(("b", b"second"))


async def test_pull_gives_the_image(tmp_path):
    store = await opened(tmp_path)
    image = build_image([ONE, TWO], run={"Cmd": ["sh", "-c", "x"], "ExposedPorts": {"80/tcp": {}}})
    told = []
    async with fake_registry() as registry:
        registry.add("1", image)
        got = await store.pull(registry.name(), platform="", progress=told.append)
        assert registry.connections <= 6  # one TLS try, kept connections
        assert got.repo_tags == (registry.name(),)
        assert got.repo_digests == (f"{registry.name()[:-2]}@{image.digest}",)
        assert store.get(f"{registry.name()[:-2]}@{image.digest}") == got
    assert got.id == image.id
    assert got.config.exposed_ports == ("80/tcp",)
    assert got.size_bytes == len(NOISE) + 5 + 6
    assert [row.size_bytes for row in got.history] == [len(NOISE) + 5, 6]
    assert [
        (path / name).read_bytes() for path, name in zip(store.layer_paths(got), "ab", strict=True)
    ] == [b"first", b"second"]
    assert {one.status for one in told} >= {"resolving", "downloading", "extracting", "done"}
    again = ImageStore(tmp_path)
    await again.open()
    assert again.ls() == store.ls() == [got]
    assert again.used_bytes() == store.used_bytes() > 2 * len(NOISE)


@pytest.mark.parametrize("form", ["", "+gzip", "+zstd"])
async def test_layer_forms(tmp_path, form):
    store = await opened(tmp_path)
    async with fake_registry() as registry:
        registry.add("1", build_image([ONE], form=form))
        got = await store.pull(registry.name(), platform="", progress=ignore)
    assert (store.layer_paths(got)[0] / "noise").read_bytes() == NOISE


def lied_digest(registry, image):
    body = bytearray(registry.blobs[image.layers[0]])
    body[len(body) // 2] ^= 1
    registry.blobs[image.layers[0]] = bytes(body)


def truncated(registry, image):
    registry.blobs[image.layers[0]] = registry.blobs[image.layers[0]][:-1000]


def truncated_without_length(registry, image):
    registry.chunked = True
    truncated(registry, image)


def longer_without_length(registry, image):
    registry.chunked = True
    longer(registry, image)


def lied_plain_layer(registry, image):
    plain = build_image([ONE], form="")
    registry.add("1", plain)
    lied_digest(registry, plain)


def longer(registry, image):
    registry.blobs[image.layers[0]] += b"more"


def another_layer(registry, image):
    registry.blobs[image.layers[0]] = gzip.compress(TWO)


def wrong_config(registry, image):
    registry.blobs[image.id] = registry.blobs[image.id].replace(b"amd64", b"amd46")


def rewritten(registry, image, change):
    document = json.loads(image.manifest)
    change(document)
    registry.manifests["1"] = (json.dumps(document).encode(), image.media_type)


def wrong_size(registry, image):
    rewritten(registry, image, lambda doc: doc["layers"][0].update(size=10))


def missing_layer_row(registry, image):
    rewritten(registry, image, lambda doc: doc["layers"].pop())


def foreign_media_type(registry, image):
    rewritten(registry, image, lambda doc: doc["layers"][0].update(mediaType="text/plain"))


def both_kinds(registry, image):
    rewritten(registry, image, lambda doc: doc.update(manifests=[]))


def path_in_digest(registry, image):
    rewritten(registry, image, lambda doc: doc["layers"][0].update(digest="sha256:../../etc"))


def negative_size(registry, image):
    rewritten(registry, image, lambda doc: doc["config"].update(size=-1))


def schema_1(registry, image):
    rewritten(registry, image, lambda doc: doc.update(schemaVersion=1))


def garbage_json(registry, image):
    registry.manifests["1"] = (b'{"schemaVersion":2,"x":' + b"[" * 100_000, image.media_type)


def not_json(registry, image):
    registry.manifests["1"] = (b"<html>", "text/html")


def endless_manifest(registry, image):
    registry.manifests["1"] = (b" " * (5 << 20), image.media_type)


def swapped_diff_ids(registry, image):
    other = build_image([TWO, ONE])
    config = other.blobs[other.id]
    registry.blobs[sha(config)] = config
    rewritten(
        registry, image, lambda doc: doc["config"].update(digest=sha(config), size=len(config))
    )


def lied_header(registry, image):
    body, kind = registry.manifests["1"]
    registry.override = lambda path, _: (
        (200, {"content-type": kind, "docker-content-digest": sha(b"")}, body)
        if "/manifests/" in path
        else None
    )


def not_a_tar(registry, image):
    fake = build_image([b"this is no tar" * 1000])
    registry.add("1", fake)


def escaping(registry, image):
    registry.add("1", build_image([ONE, tar_of(("../../escaped", b"x"))]))


def through_link(registry, image):
    link = entry("out", type=tarfile.SYMTYPE, linkname="/tmp")
    registry.add("1", build_image([tar_of(link, ("out/escaped", b"x"))]))


def bomb(registry, image):
    registry.add("1", build_image([tar_of(("zeros", bytes(64 << 20)))], form="+zstd"))


def http_elsewhere(registry, image):
    registry.override = lambda path, _: (
        (307, {"location": "http://169.254.169.254/latest"}, b"") if "/blobs/" in path else None
    )


def redirect_loop(registry, image):
    registry.override = lambda path, _: (302, {"location": path}, b"")


def token_elsewhere(registry, image):
    realm = 'Bearer realm="http://169.254.169.254/token"'
    registry.override = lambda *_: (401, {"www-authenticate": realm}, b"")


LIES = [
    lied_digest, lied_plain_layer, truncated, truncated_without_length, longer,
    longer_without_length, another_layer, wrong_config, wrong_size, missing_layer_row,
    foreign_media_type, both_kinds, path_in_digest, negative_size, schema_1, garbage_json, not_json,
    endless_manifest, swapped_diff_ids, lied_header, not_a_tar, escaping, through_link, bomb,
    http_elsewhere, redirect_loop, token_elsewhere,
]  # fmt: skip


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
async def test_lies_are_refused_and_leave_nothing(tmp_path, lie):
    store = await opened(tmp_path, limits=Limits(file_bytes=32 << 20, stream_bytes=48 << 20))
    image = build_image([ONE, TWO])
    async with fake_registry() as registry:
        registry.add("1", image)
        lie(registry, image)
        with trio.fail_after(10), pytest.raises(errors.Refused):
            await store.pull(registry.name(), platform="", progress=ignore)
    assert files(tmp_path) == set()
    assert store.ls() == []
    assert store.used_bytes() == 0


async def test_wrong_digest_asked(tmp_path):
    store = await opened(tmp_path)
    image = build_image([TWO])
    async with fake_registry() as registry:
        registry.add("1", image)
        registry.manifests[sha(b"x")] = registry.manifests["1"]
        with pytest.raises(errors.Refused):
            await store.pull(
                f"127.0.0.1:{registry.port}/a@{sha(b'x')}", platform="", progress=ignore
            )
        got = await store.pull(
            f"127.0.0.1:{registry.port}/a@{image.digest}", platform="", progress=ignore
        )
    assert got.repo_tags == ()
    assert len(got.repo_digests) == 1


async def test_list_chooses_the_platform(tmp_path):
    store = await opened(tmp_path)
    images = {
        "linux/arm64/v8": build_image([TWO], architecture="arm64", variant="v8"),
        "linux/amd64": build_image([TWO], architecture="amd64"),
        "unknown/unknown": build_image([ONE]),
    }
    async with fake_registry() as registry:
        for name, image in images.items():
            registry.add(name, image)
        body = build_list(images)
        registry.manifests["1"] = (body, "application/vnd.oci.image.index.v1+json")
        amd = await store.pull(registry.name(), platform="linux/amd64", progress=ignore)
        assert amd.index_digest == sha(body)
        assert amd.repo_digests == (f"{registry.name()[:-2]}@{sha(body)}",)
        arm = await store.pull(registry.name(), platform="linux/arm64", progress=ignore)
        assert (arm.architecture, arm.variant) == ("arm64", "v8")
        assert store.get(amd.id).repo_tags == ()  # the name moved; the image stays, nameless
        assert store.get(registry.name()) == arm
        with pytest.raises(errors.Missing):
            await store.pull(registry.name(), platform="linux/s390x", progress=ignore)
    assert len(store.ls()) == 2


async def test_another_platform_only_if_none_was_asked_for(tmp_path):
    store = await opened(tmp_path)
    async with fake_registry() as registry:
        registry.add("1", build_image([TWO], architecture="s390x"))
        with pytest.raises(errors.Missing):
            await store.pull(registry.name(), platform="linux/amd64", progress=ignore)
        got = await store.pull(registry.name(), platform="", progress=ignore)
    assert got.architecture == "s390x"


async def test_a_list_that_lies_about_its_entries(tmp_path):
    store = await opened(tmp_path)
    image, other = build_image([TWO]), build_image([ONE])
    rows = json.loads(build_list({"linux/amd64": image}))
    rows["manifests"][0]["size"] += 1
    nested = build_list({"linux/amd64": image}).replace(image.digest.encode(), b"%s")
    kind = "application/vnd.oci.image.index.v1+json"
    async with fake_registry() as registry:
        registry.add("x", image)
        registry.manifests["size"] = (json.dumps(rows).encode(), kind)
        inner = build_list({"linux/amd64": other})
        outer = json.loads(nested.replace(b"%s", sha(inner).encode()))
        outer["manifests"][0].update(size=len(inner), mediaType=kind)
        registry.manifests |= {
            "deep": (json.dumps(outer).encode(), kind),
            sha(inner): (inner, kind),
        }
        for tag in ("size", "deep"):
            with pytest.raises(errors.Refused):
                await store.pull(registry.name(tag), platform="linux/amd64", progress=ignore)
    assert files(tmp_path) == set()


async def test_the_same_image_again_fetches_no_layer(tmp_path):
    store = await opened(tmp_path)
    image = build_image([ONE])
    async with fake_registry() as registry:
        registry.add("1", image)
        registry.add("2", image)
        await store.pull(registry.name("1"), platform="", progress=ignore)
        got = await store.pull(registry.name("2"), platform="", progress=ignore)
        assert registry.requests(image.layers[0]) == 1
        assert got.repo_tags == (registry.name("1"), registry.name("2"))

"""Content that several pulls share, and that nobody keeps."""

import os

import pytest
import trio
import trio.testing

from runtime import errors
from runtime.contract.image import Progress
from runtime.imageconfig import ImageConfig
from tests.fakes.registry import fake_registry
from tests.fakes.registry_images import (
    build_image,
    tar_of,
)
from tests.fakes.registry_store import Upload, files, ignore, nobody, opened

NOISE = os.urandom(3 << 20)


ONE = tar_of(("a", b"first"), ("noise", NOISE))


TWO = tar_of(("b", b"second"))


async def test_two_pulls_fetch_a_shared_layer_once(tmp_path):
    store = await opened(tmp_path)
    first, second = build_image([ONE, TWO]), build_image([ONE], run={"Cmd": ["other"]})
    async with fake_registry() as registry:
        registry.add("1", first)
        registry.add("2", second)
        async with trio.open_nursery() as nursery:
            for tag in ("1", "2"):
                nursery.start_soon(
                    lambda tag: store.pull(registry.name(tag), platform="", progress=ignore), tag
                )
        assert registry.sent_bytes[first.layers[0]] == len(first.blobs[first.layers[0]])
    a, b = (store.get(registry.name(tag)) for tag in "12")
    assert store.layer_paths(a)[0] == store.layer_paths(b)[0]


async def test_second_pull_takes_over_when_the_first_is_cancelled(tmp_path):
    store = await opened(tmp_path)
    image = build_image([ONE])
    waiting, release = trio.Event(), trio.Event()

    async def gate(digest: str) -> None:
        if digest == image.layers[0] and not waiting.is_set():
            waiting.set()
            await release.wait()

    async with fake_registry(gate=gate) as registry, trio.open_nursery() as nursery:
        registry.add("1", image)
        scope = trio.CancelScope()

        async def first() -> None:
            with scope:
                await store.pull(registry.name(), platform="", progress=ignore)

        nursery.start_soon(first)
        await waiting.wait()
        nursery.start_soon(lambda: store.pull(registry.name(), platform="", progress=ignore))
        await trio.testing.wait_all_tasks_blocked(0.02)
        scope.cancel()
    assert (store.layer_paths(store.get(registry.name()))[0] / "noise").read_bytes() == NOISE


@pytest.mark.parametrize("after", [0, 1, 65536, 1 << 20, (3 << 20) - 1])
async def test_cancelled_pull_leaves_nothing(tmp_path, after):
    store = await opened(tmp_path)
    image = build_image([TWO, ONE])
    async with fake_registry() as registry:
        registry.add("1", image)
        with trio.CancelScope() as scope:

            def stop(step: Progress) -> None:
                if step.status == "downloading" and step.current_bytes >= after:
                    scope.cancel()
                if step.status == "extracting" and step.total_bytes > 1 << 20:
                    scope.cancel()

            await store.pull(registry.name(), platform="", progress=stop)
        assert scope.cancelled_caught
    assert files(tmp_path) == set()
    assert store.used_bytes() == 0


async def test_layer_of_an_image_in_the_store_stays_when_a_pull_fails(tmp_path):
    store = await opened(tmp_path)
    good, bad = build_image([ONE]), build_image([ONE, b"no tar"])
    async with fake_registry() as registry:
        registry.add("1", good)
        registry.add("2", bad)
        kept = await store.pull(registry.name("1"), platform="", progress=ignore)
        with pytest.raises(errors.Refused):
            await store.pull(registry.name("2"), platform="", progress=ignore)
    assert (store.layer_paths(kept)[0] / "a").read_bytes() == b"first"
    assert len(list((tmp_path / "images/blobs/sha256").iterdir())) == 3


async def test_open_removes_what_no_image_needs(tmp_path):
    store = await opened(tmp_path)
    config = ImageConfig()
    await store.import_rootfs(Upload(ONE), ref="b", config=config, message="", created="")
    before = files(tmp_path)
    base = tmp_path / "images"
    (base / "blobs/sha256" / ("0" * 64)).write_bytes(b"stray")
    (base / "blobs/sha256/odd name").write_bytes(b"stray")
    (base / "layers" / ("1" * 64)).mkdir()
    (base / "layers/odd").write_bytes(b"stray")
    (base / "tmp/half").mkdir()
    again = await opened(tmp_path)
    assert [one.repo_tags for one in again.ls()] == [("b:latest",)]
    assert files(tmp_path) == before


async def test_an_image_whose_manifest_is_damaged_keeps_its_content(tmp_path):
    store = await opened(tmp_path)
    config = ImageConfig()
    image = await store.import_rootfs(Upload(TWO), ref="a", config=config, message="", created="")
    await store.import_rootfs(Upload(ONE), ref="b", config=config, message="", created="")
    before = files(tmp_path)
    (tmp_path / "images/blobs/sha256" / image.manifest_digest[7:]).write_bytes(b"{}")
    again = await opened(tmp_path)
    assert [one.repo_tags for one in again.ls()] == [("b:latest",)]
    assert files(tmp_path) == before


async def test_one_layer_in_two_compressions(tmp_path):
    """It is fetched once, and its blob stays as long as the layer."""
    store = await opened(tmp_path)
    first, second = build_image([TWO]), build_image([TWO], form="+zstd", run={"Cmd": ["x"]})
    async with fake_registry() as registry:
        registry.add("1", first)
        registry.add("2", second)
        for tag in "12":
            await store.pull(registry.name(tag), platform="", progress=ignore)
        assert registry.requests(second.layers[0]) == 0
        await store.rm(registry.name("1"), force=False, users=nobody)
        blob = f"blobs/sha256/{first.layers[0][7:]}"
        assert blob in files(tmp_path)
        again = await opened(tmp_path)
        assert blob in files(tmp_path)
        await again.rm(registry.name("2"), force=False, users=nobody)
    assert files(tmp_path) == set()

"""Talking to a registry: tokens, broken connections, and failures that pass or stay."""

import os

import pytest
import trio

from runtime import errors
from runtime.image.http import Client, HttpOptions
from runtime.image.registry import Registry, RegistryOptions
from tests.fakes.registry import fake_registry
from tests.fakes.registry_images import (
    build_image,
    tar_of,
)
from tests.fakes.registry_store import files, ignore, opened

NOISE = os.urandom(3 << 20)


ONE = tar_of(("a", b"first"), ("noise", NOISE))


TWO = tar_of(("b", b"second"))


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
async def test_broken_connections_are_resumed(tmp_path, ranges, chunked):
    store = await opened(tmp_path)
    image = build_image([ONE])
    async with fake_registry(ranges=ranges, chunked=chunked) as registry:
        registry.add("1", image)
        registry.cuts[image.layers[0]] = [1_000_000, 500_001 if ranges else 1_500_001]
        got = await store.pull(registry.name(), platform="", progress=ignore)
        assert registry.requests(image.layers[0]) >= 3
        sent = registry.sent_bytes[image.layers[0]]
    assert (store.layer_paths(got)[0] / "noise").read_bytes() == NOISE
    if ranges:
        assert sent == len(image.blobs[image.layers[0]])


async def test_failures_that_pass_are_survived(tmp_path):
    store = await opened(tmp_path)
    async with fake_registry() as registry:
        registry.add("1", build_image([TWO]))
        registry.failures[:] = [503, 500]
        assert (await store.pull(registry.name(), platform="", progress=ignore)).size_bytes == 6
        assert registry.failures == []


async def test_failures_that_stay_are_unavailable(tmp_path):
    store = await opened(tmp_path)
    async with fake_registry() as registry:
        registry.add("1", build_image([TWO]))
        registry.failures[:] = [503] * 20
        with pytest.raises(errors.Unavailable):
            await store.pull(registry.name(), platform="", progress=ignore)
    assert files(tmp_path) == set()


async def test_nobody_there_is_unavailable_at_once(tmp_path):
    store = await opened(tmp_path)
    async with fake_registry() as registry:
        name = registry.name()
    with trio.fail_after(2), pytest.raises(errors.Unavailable):
        await store.pull(name, platform="", progress=ignore)


async def test_unknown_image_is_missing(tmp_path):
    store = await opened(tmp_path)
    async with fake_registry() as registry:
        with pytest.raises(errors.Missing):
            await store.pull(registry.name(), platform="", progress=ignore)


async def test_token_dance(tmp_path):
    store = await opened(tmp_path)
    async with fake_registry(token="s3cret") as registry:
        registry.add("1", build_image([ONE, TWO]))
        await store.pull(registry.name(), platform="", progress=ignore)
        asked = [path for path in registry.asked if path.startswith("/token")]
        assert asked == ["/token?service=fake&scope=repository%3Ateam%2Fapp%3Apull"]


async def test_blobs_elsewhere_get_no_token(tmp_path):
    """A redirect is followed, the token stays with the registry."""
    store = await opened(tmp_path)
    image = build_image([ONE])
    seen = []
    async with fake_registry() as elsewhere, fake_registry(token="s3cret") as registry:
        registry.add("1", image)
        elsewhere.add("1", image)

        def away(path: str, _headers: dict[str, str]):
            where = f"http://127.0.0.1:{elsewhere.port}{path}?signed=1"
            return (307, {"location": where}, b"") if "/blobs/" in path else None

        def watch(path: str, headers: dict[str, str]):
            seen.append((path.partition("?")[2], "authorization" in headers))
            return (200, {}, elsewhere.blobs[path.partition("?")[0].rpartition("/")[2]])

        registry.override, elsewhere.override = away, watch
        got = await store.pull(registry.name(), platform="", progress=ignore)
    assert got.id == image.id
    assert set(seen) == {("signed=1", False)}


async def test_a_range_from_elsewhere_is_refused(tmp_path):
    store = await opened(tmp_path)
    image = build_image([ONE])
    async with fake_registry() as registry:
        registry.add("1", image)
        registry.cuts[image.layers[0]] = [1000]

        def lie(path: str, headers: dict[str, str]):
            body = image.blobs[image.layers[0]]
            return (206, {"content-range": "bytes 5-9/10"}, body) if "range" in headers else None

        registry.override = lie
        with pytest.raises(errors.Refused):
            await store.pull(registry.name(), platform="", progress=ignore)
    assert files(tmp_path) == set()


async def test_broken_for_ever_is_unavailable(tmp_path):
    store = await opened(tmp_path)
    image = build_image([ONE])
    async with fake_registry() as registry:
        registry.add("1", image)
        registry.cuts[image.layers[0]] = [1000] + [0] * 50
        with pytest.raises(errors.Unavailable):
            await store.pull(registry.name(), platform="", progress=ignore)
        assert len(registry.cuts[image.layers[0]]) == 50 - 2
    assert files(tmp_path) == set()


async def test_silence_is_unavailable(tmp_path):
    """A registry that takes the request and never answers."""

    async def silence(_digest: str) -> None:
        await trio.sleep_forever()

    patience = RegistryOptions(http=HttpOptions(idle_s=0.1), tries=2, wait_s=0.01)
    store = await opened(tmp_path, registry=patience)
    async with fake_registry(gate=silence) as registry:
        registry.add("1", build_image([ONE]))
        with trio.fail_after(5), pytest.raises(errors.Unavailable):
            await store.pull(registry.name(), platform="", progress=ignore)
    assert files(tmp_path) == set()


async def test_a_registry_that_never_answered_is_asked_once():
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    client, base = Client(HttpOptions()), f"http://127.0.0.1:{port}/v2/a"
    registry = Registry(client, base, ["repository:a:pull"], None, RegistryOptions(wait_s=60))
    with trio.fail_after(2), pytest.raises(errors.Unavailable):
        await registry.manifest("1")

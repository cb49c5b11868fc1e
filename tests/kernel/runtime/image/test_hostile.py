"""A registry that never ends, or says far too much: refused soon, and nothing stays.

Covers runtime/image/http.py, runtime/image/registry.py
"""

import json

import pytest
import trio

from runtime import errors
from tests.fakes.registry import fake_registry
from tests.fakes.registry_images import build_image, tar_of
from tests.fakes.registry_store import files, ignore, opened

IMAGE = build_image([tar_of(("a", b"first")), tar_of(("b", b"second"))])
READ_MAX = 32 << 20  # of what never ends: our limits, and what sockets buffer


def manifest(layers):
    document = json.loads(IMAGE.manifest)
    return json.dumps({**document, "layers": layers(document["layers"][0])}).encode()


def many_layers(registry):
    registry.manifests["1"] = (manifest(lambda row: [row] * 100_000), IMAGE.media_type)


def many_empty_layers(registry):
    registry.manifests["1"] = (manifest(lambda _: [{}] * 100_000), IMAGE.media_type)


def layers_over_the_limit(registry):
    registry.manifests["1"] = (manifest(lambda row: [row] * 501), IMAGE.media_type)


def endless(part):
    def lie(registry):
        registry.endless = part

    lie.__name__ = f"endless_{part[:12]}"
    return lie


def endless_token(registry):
    registry.token, registry.endless = "t0ken", "/token"


def interim_answers(registry):
    registry.interim = True


def leading_to(url):
    def lie(registry):
        registry.override = lambda path, _: (
            (307, {"location": url}, b"") if "/blobs/" in path else None
        )

    lie.__name__ = f"leading_to_{url[:20]}"
    return lie


LIES = [
    many_layers, many_empty_layers, layers_over_the_limit,
    endless("/manifests/"), endless(IMAGE.id), endless(IMAGE.layers[0]), endless_token,
    interim_answers,
    leading_to("https://a..b/"), leading_to(f"https://{'a' * 70}/"), leading_to("file:///etc/passwd"),
]  # fmt: skip


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
async def test_too_much_is_refused_soon(tmp_path, lie):
    store = await opened(tmp_path)
    async with fake_registry() as registry:
        registry.add("1", IMAGE)
        lie(registry)
        with trio.fail_after(10), pytest.raises(errors.Refused):
            await store.pull(registry.name(), platform="", progress=ignore)
        assert registry.sent_bytes.total() < READ_MAX
    assert files(tmp_path) == set()
    assert store.used_bytes() == 0


async def test_tags_without_end_are_refused(tmp_path):
    store = await opened(tmp_path)
    async with fake_registry() as registry:
        registry.override = lambda *_: (200, {}, b"")
        registry.endless = "/tags/list"
        with trio.fail_after(10), pytest.raises(errors.Refused, match="too long"):
            await store.tags(registry.name())
        pages = {"link": '</v2/team/app/tags/list>; rel="next"'}
        registry.endless = ""
        registry.override = lambda *_: (200, pages, b'{"name": "a", "tags": ["1"]}')
        with trio.fail_after(10), pytest.raises(errors.Refused, match="too many pages"):
            await store.tags(registry.name())


async def test_a_failure_told_without_end_is_a_failure(tmp_path):
    store = await opened(tmp_path)
    async with fake_registry() as registry:
        registry.endless = "/manifests/"
        with trio.fail_after(10), pytest.raises(errors.Missing):
            await store.pull(registry.name(), platform="", progress=ignore)
        assert registry.sent_bytes.total() < READ_MAX


async def test_a_head_without_end_is_given_up(tmp_path):
    store = await opened(tmp_path)
    async with fake_registry() as registry:
        registry.override = lambda *_: (200, {"x-long": "a" * (4 << 20)}, b"")
        with trio.fail_after(10), pytest.raises(errors.Unavailable):
            await store.pull(registry.name(), platform="", progress=ignore)

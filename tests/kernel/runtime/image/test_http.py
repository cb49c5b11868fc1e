"""Credentials stay with the registry that they are for, wherever it leads us."""

from contextlib import asynccontextmanager

import pytest

from runtime import errors
from runtime.image.auth import Credentials
from runtime.image.http import Client, HttpOptions, plain_body
from runtime.image.reference import parse_reference
from runtime.image.registry import Registry, RegistryOptions, open_registry
from tests.fakes.registry import fake_registry
from tests.fakes.registry_images import build_image, tar_of

IMAGE = build_image([tar_of(("a", b"first"))])
LAYER = IMAGE.layers[0]
SECRET = Credentials(user="me", password="s3cret")


class Watched:
    """What one server is asked, and whether with credentials."""

    def __init__(self, answer):
        self.seen = []
        self._answer = answer

    def __call__(self, path, headers):
        self.seen.append((path.partition("?")[0], headers.get("authorization", "")))
        return self._answer(path)


@asynccontextmanager
async def led_away(answer):
    """A repository whose token we have, and whose layer is at another server."""
    async with fake_registry() as other, fake_registry(token="t0ken") as registry:
        registry.add("1", IMAGE)
        other.override = Watched(lambda path: answer(path, registry, other))
        away = f"http://127.0.0.1:{other.port}/away"

        def lead(path, headers):
            known = headers.get("authorization") == "Bearer t0ken"
            return (307, {"location": away}, b"") if known and LAYER in path else None

        registry.override = lead
        ref = parse_reference(registry.name())
        options = RegistryOptions(tries=1, credentials={ref.domain: SECRET})
        async with open_registry(ref, options) as repository:
            await repository.manifest("1")
            yield repository, registry, other


async def test_a_challenge_of_another_host_is_not_answered():
    def ask(path, _registry, other):
        realm = f'Bearer realm="http://127.0.0.1:{other.port}/token"'
        if path.startswith("/token"):
            return 200, {}, b'{"token": "theirs"}'
        return 401, {"www-authenticate": realm}, b""

    async with led_away(ask) as (repository, _, other):
        with pytest.raises(errors.Refused, match=str(other.port)):
            await repository.blob_body(LAYER, len(IMAGE.blobs[LAYER]))
        assert other.override.seen == [("/away", "")]


async def test_a_host_that_leads_back_does_not_ask_in_our_name():
    def back(_path, registry, _other):
        return 302, {"location": f"http://127.0.0.1:{registry.port}/v2/secret/blobs/x"}, b""

    async with led_away(back) as (repository, registry, other):
        seen = []
        lead = registry.override

        def watch(path, headers):
            seen.append((path, headers.get("authorization", "")))
            return (200, {}, b"open") if "/secret/" in path else lead(path, headers)

        registry.override = watch
        response = await repository.get(f"/blobs/{LAYER}", {})
        await response.aclose()
        assert seen[-1] == ("/v2/secret/blobs/x", "")
        assert other.override.seen == [("/away", "")]


async def test_an_upload_elsewhere_gets_no_token():
    def take(path, _registry, _other):
        return (201, {}, b"") if path == "/away" else None

    async with led_away(take) as (repository, _, other):
        url = f"http://127.0.0.1:{other.port}/away"
        answer = await repository.send("PUT", url, {}, good={201}, body=plain_body(b"blob"))
        await answer.aclose()
        assert other.override.seen == [("/away", "")]


async def test_a_registry_elsewhere_leads_no_upload_to_services_of_this_host():
    client = Client(HttpOptions())
    registry = Registry(client, "https://registry.example/v2/a", [], SECRET, RegistryOptions())
    async with fake_registry() as service:
        url = f"http://127.0.0.1:{service.port}/v1/kv"
        with pytest.raises(errors.Refused, match=r"registry\.example"):
            await registry.send("PUT", url, {}, good={200}, body=plain_body(b"x"))
        assert service.connections == 0

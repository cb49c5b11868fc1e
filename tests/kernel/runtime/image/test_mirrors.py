"""Mirrors of docker.io: asked first, passed over when they cannot, named when nobody can."""

from contextlib import asynccontextmanager

import pytest

from runtime import errors
from runtime.image.auth import Credentials
from runtime.image.origin import split_url
from runtime.image.registry import RegistryOptions
from tests.fakes.registry import fake_registry
from tests.fakes.registry_images import build_image, tar_of
from tests.fakes.registry_store import files, ignore, opened

IMAGE = build_image([tar_of(("a", b"first")), tar_of(("b", b"second"))])
SECRET = Credentials(user="me", password="s3cret")


@asynccontextmanager
async def mirrored(root):
    """A store with one mirror, the mirror, and what stands for docker.io here."""
    async with fake_registry() as mirror, fake_registry() as hub:
        options = RegistryOptions(
            mirrors=[split_url(f"http://127.0.0.1:{mirror.port}")[0]],
            hub=f"127.0.0.1:{hub.port}",
            credentials={"docker.io": SECRET},
            wait_s=0.01,
        )
        hub.add("1", IMAGE)
        mirror.add("1", IMAGE)
        yield await opened(root, registry=options), mirror, hub


async def test_a_mirror_is_asked_and_the_name_stays(tmp_path):
    async with mirrored(tmp_path) as (store, mirror, hub):
        image = await store.pull("app:1", platform="", progress=ignore)
        assert image.repo_tags == ("app:1",)
        assert mirror.asked[0] == "/v2/library/app/manifests/1"
        assert hub.asked == []


def breaks_at_a_layer(mirror):
    mirror.cuts[IMAGE.layers[1]] = [3, 0, 0, 0]


def has_no_such_image(mirror):
    mirror.manifests.clear()


def fails(mirror):
    mirror.failures[:] = [503] * 9


def lies(mirror):
    mirror.blobs[IMAGE.layers[0]] = IMAGE.blobs[IMAGE.layers[1]]


def wants_a_login(mirror):
    mirror.override = lambda *_: (401, {"www-authenticate": 'Basic realm="x"'}, b"")


@pytest.mark.parametrize(
    "wrong",
    [breaks_at_a_layer, has_no_such_image, fails, lies, wants_a_login],
    ids=lambda one: one.__name__,
)
async def test_what_a_mirror_cannot_do_the_registry_does(tmp_path, wrong, caplog):
    async with mirrored(tmp_path) as (store, mirror, hub):
        wrong(mirror)
        assert (await store.pull("app:1", platform="", progress=ignore)).id == IMAGE.id
        assert mirror.asked
        assert hub.asked
        assert f"127.0.0.1:{mirror.port}" in caplog.text


async def test_a_login_to_docker_io_is_not_for_mirrors(tmp_path):
    async with mirrored(tmp_path) as (store, mirror, hub):
        seen = []

        def guarded(name):
            def ask(_path, headers):
                seen.append((name, headers.get("authorization", "")))
                basic = {"www-authenticate": 'Basic realm="x"'}
                return None if "authorization" in headers else (401, basic, b"")

            return ask

        mirror.override, hub.override = guarded("mirror"), guarded("hub")
        await store.pull("app:1", platform="", progress=ignore)
        assert {said for name, said in seen if name == "mirror"} == {""}
        assert ("hub", SECRET.header()) in seen


async def test_when_nobody_can_all_are_named_and_nothing_stays(tmp_path):
    async with mirrored(tmp_path) as (store, mirror, hub):
        fails(mirror)
        has_no_such_image(hub)
        with pytest.raises(errors.Missing, match="status=404") as caught:
            await store.pull("app:1", platform="", progress=ignore)
        assert f"http://127.0.0.1:{mirror.port}: " in caught.value.fields["mirrors"]
        assert "status=503" in caught.value.fields["mirrors"]
    assert files(tmp_path) == set()


async def test_other_registries_have_no_mirror(tmp_path):
    async with mirrored(tmp_path) as (store, mirror, _), fake_registry() as other:
        other.add("1", IMAGE)
        await store.pull(other.name(), platform="", progress=ignore)
        assert mirror.asked == []

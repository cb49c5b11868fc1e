"""Archives of docker save and OCI layouts."""

import gzip
import json
import os
import tarfile

import pytest
import zstandard

from runtime import errors
from tests.fakes.registry_images import (
    build_image,
    docker_save,
    entry,
    oci_archive,
    tar_of,
)
from tests.fakes.registry_store import Upload, files, ignore, opened

NOISE = os.urandom(3 << 20)


ONE = tar_of(("a", b"first"), ("noise", NOISE))


TWO = tar_of(("b", b"second"))


async def test_docker_archives(tmp_path):
    one, two = build_image([ONE, TWO]), build_image([TWO, ONE])
    store = await opened(tmp_path)
    saved = docker_save({"app:1": one, "localhost:5000/app:2": two})
    loaded = await store.load(Upload(saved, 7777), progress=ignore)
    assert [image.id for image in loaded] == [one.id, two.id]
    assert [image.repo_tags for image in loaded] == [("app:1",), ("localhost:5000/app:2",)]
    assert (store.layer_paths(loaded[1])[0] / "b").read_bytes() == b"second"
    again = await opened(tmp_path)
    assert again.ls() == store.ls()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
async def test_oci_archives(tmp_path, pack):
    image = build_image([ONE, TWO], form="+zstd")
    store = await opened(tmp_path)
    (loaded,) = await store.load(Upload(pack(oci_archive(image, "app:3"))), progress=ignore)
    assert (loaded.id, loaded.manifest_digest) == (image.id, image.digest)
    assert loaded.repo_tags == ("app:3",)


async def test_legacy_layer_links(tmp_path):
    """Docker before 1.13 saves a repeated layer as a symbolic link."""
    config = build_image([TWO, TWO]).config
    rows = [{"Config": "c.json", "RepoTags": None, "Layers": ["x/layer.tar", "y/layer.tar"]}]
    link = entry("y/layer.tar", type=tarfile.SYMTYPE, linkname="../x/layer.tar")
    body = tar_of(
        ("x/layer.tar", TWO), link, ("c.json", config), ("manifest.json", json.dumps(rows).encode())
    )
    store = await opened(tmp_path)
    (loaded,) = await store.load(Upload(body), progress=ignore)
    assert loaded.repo_tags == ()
    assert len(loaded.diff_ids) == 2


BROKEN = {
    "not a tar": b"x" * 5000,
    "empty": b"",
    "no manifest": tar_of(("x", b"y")),
    "old": tar_of(("repositories", b"{}")),
    "garbage": tar_of(("manifest.json", b"[{")),
    "no image": tar_of(("manifest.json", b"[]")),
    "missing layer": tar_of(
        ("manifest.json", b'[{"Config":"c","Layers":["../../../../etc/passwd"]}]'),
        ("c", build_image([TWO]).config),
    ),
    "link loop": tar_of(
        entry("c", type=b"2", linkname="c"), ("manifest.json", b'[{"Config":"c","Layers":[]}]')
    ),
    "bad name": docker_save({"No:Good:Name": build_image([TWO])}),
    "other layer": docker_save({"a": build_image([TWO])}).replace(b"second", b"secund"),
    "other blob": oci_archive(build_image([TWO], form=""), "a:1").replace(b"second", b"secund"),
    "truncated": docker_save({"a": build_image([ONE])})[:100_000],
}


@pytest.mark.parametrize("case", BROKEN)
async def test_broken_archives_leave_nothing(tmp_path, case):
    store = await opened(tmp_path)
    with pytest.raises(errors.Refused):
        await store.load(Upload(BROKEN[case]), progress=ignore)
    assert files(tmp_path) == set()
    assert list((tmp_path / "images/tmp").iterdir()) == []

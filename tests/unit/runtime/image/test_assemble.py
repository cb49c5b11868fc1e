"""Images out of documents that do or do not fit."""

import pytest

from runtime import errors
from runtime.image.assemble import build_entry, manifest_for
from runtime.image.catalog import Names
from runtime.image.depot import Depot, LayerInfo
from runtime.image.manifest import Manifest, parse_document
from runtime.image.untar import Limits
from tests.fakes.registry_images import build_image, build_list


@pytest.fixture
def depot(tmp_path):
    return Depot(tmp_path, Limits(), lambda _key: False)


def test_a_layer_that_is_not_here(depot):
    image = build_image([b"tar"])
    with pytest.raises(errors.Missing):
        build_entry(image.manifest, image.config, depot, Names())


def test_another_config(depot):
    image, other = build_image([]), build_image([], created="2020-01-01T00:00:00Z")
    with pytest.raises(errors.Refused):
        build_entry(image.manifest, other.config, depot, Names())


def test_a_list_is_no_image(depot):
    image = build_image([])
    with pytest.raises(errors.Refused):
        build_entry(build_list({"linux/amd64": image}), image.config, depot, Names())


def test_an_image_without_layers(depot):
    image = build_image([], run={"Cmd": ["x"]})
    names = Names(tags=("a:1",), repo_digests=("a@b",), index_digest="i")
    entry = build_entry(image.manifest, image.config, depot, names)
    assert (entry.image.id, entry.image.manifest_digest) == (image.id, image.digest)
    assert (entry.image.repo_tags, entry.image.repo_digests) == (("a:1",), ("a@b",))
    assert (entry.image.config.cmd, entry.image.size_bytes) == (("x",), 0)
    assert (entry.manifest.digest, entry.manifest.size) == (image.digest, len(image.manifest))


def test_a_manifest_for_an_image_that_has_none():
    image = build_image([b"tar"], form="")
    layer = LayerInfo(
        size_bytes=1,
        disk_bytes=1,
        digest=image.layers[0],
        blob_bytes=3,
        media_type="application/vnd.oci.image.layer.v1.tar",
    )
    document = parse_document(manifest_for(image.config, [layer]), "")
    assert isinstance(document, Manifest)
    assert document.config.digest == image.id
    assert [(one.digest, one.size) for one in document.layers] == [(image.layers[0], 3)]

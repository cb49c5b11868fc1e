"""What is found in archives, and what is not believed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import errors
from runtime.image.archive import Archive, read_images, read_pieces, spool
from runtime.image.platform import Platform
from runtime.image.untar import Limits
from tests.fakes.registry_images import (
    build_image,
    build_list,
    docker_save,
    entry,
    oci_archive,
    sha,
    tar_of,
)

AMD = Platform(os="linux", architecture="amd64")
ARM = Platform(os="linux", architecture="arm64", variant="v8")
ONE = tar_of(("a", b"1"))


def images(tmp_path, data: bytes, host: Platform = AMD, limits: Limits = Limits()):  # noqa: B008
    return read_images(spool(iter([data]), tmp_path, limits), host)


def test_docker_save(tmp_path):
    image = build_image([ONE, b"two"])
    (found,) = images(tmp_path, docker_save({"localhost:5000/a:1": image}))
    assert (found.config, found.manifest) == (image.config, b"")
    assert found.tags == ("localhost:5000/a:1",)
    assert [layer.path.read_bytes() for layer in found.layers] == [ONE, b"two"]
    assert [layer.wanted.diff_id for layer in found.layers] == [sha(ONE), sha(b"two")]


def test_oci_layout(tmp_path):
    image = build_image([ONE])
    (found,) = images(tmp_path, oci_archive(image, "a:1"))
    assert (found.manifest, found.tags) == (image.manifest, ("a:1",))
    assert found.layers[0].wanted.digest == image.layers[0]
    assert b"".join(read_pieces(found.layers[0].path)) == image.blobs[image.layers[0]]


@pytest.mark.parametrize("name", ["latest", "1.0", ""])
def test_a_bare_tag_names_nothing(tmp_path, name):
    (found,) = images(tmp_path, oci_archive(build_image([ONE]), name))
    assert found.tags == ()


def layout(rows, blobs) -> bytes:
    return tar_of(
        *((f"blobs/{sha(one).replace(':', '/')}", one) for one in blobs),
        ("index.json", json.dumps({"schemaVersion": 2, "manifests": rows}).encode()),
    )


@pytest.mark.parametrize(("host", "index"), [(AMD, 0), (ARM, 1)])
@pytest.mark.parametrize("nested", [True, False])
def test_several_platforms(tmp_path, host, index, nested):
    both = [
        build_image([ONE]),
        build_image([ONE], architecture="arm64", variant="v8"),
    ]
    body = build_list({"linux/amd64": both[0], "linux/arm64/v8": both[1]})
    row = {"mediaType": json.loads(body)["mediaType"], "digest": sha(body), "size": len(body)}
    rows = [row] if nested else json.loads(body)["manifests"]
    blobs = [blob for one in both for blob in (one.manifest, *one.blobs.values())]
    (found,) = images(tmp_path, layout(rows, [body, *blobs]), host)
    assert found.config == both[index].config


def test_manifest_json_counts_first(tmp_path):
    image = build_image([ONE])
    saved = docker_save({"a:1": image})
    both = saved[:-1024].rstrip(b"\0")
    both = both.ljust(-(-len(both) // 512) * 512, b"\0") + tar_of(("index.json", b"{}"))
    (found,) = images(tmp_path, both)
    assert found.config == image.config


def test_names_inside_never_are_names_on_disk(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    archive = spool(iter([tar_of(("../out", b"x"), ("/etc/../../y", b"y"))]), inside, Limits())
    assert not outside.exists()
    assert archive.read("out", 10) == b"x"
    assert archive.read("y", 10) == b"y"
    with pytest.raises(errors.Refused):
        archive.read("../../etc/passwd", 1 << 20)


def test_links_lead_inside_only(tmp_path):
    links = [
        entry("a/l", type=b"2", linkname="../x"),
        entry("h", type=b"1", linkname="x"),
        entry("out", type=b"2", linkname="/etc/passwd"),
        entry("loop", type=b"2", linkname="loop"),
    ]
    archive = spool(iter([tar_of(("x", b"1"), *links)]), tmp_path, Limits())
    assert archive.read("a/l", 10) == archive.read("h", 10) == b"1"
    for name in ("out", "loop", "none"):
        with pytest.raises(errors.Refused):
            archive.path(name)


def test_limits(tmp_path):
    with pytest.raises(errors.Refused):
        images(tmp_path, tar_of(("x", bytes(5000))), limits=Limits(stream_bytes=4000))
    many = entry("x", type=b"2", linkname="y").tobuf() * 20_001
    with pytest.raises(errors.Refused):
        images(tmp_path, many)
    (tmp_path / "long").write_bytes(bytes(100))
    with pytest.raises(errors.Refused):
        Archive(files={"x": tmp_path / "long"}).read("x", 99)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=10,
    )
)
def test_any_manifest_json_is_refused(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "manifest.json"
    path.write_text(json.dumps(value))
    with pytest.raises(errors.Refused):
        read_images(Archive(files={"manifest.json": path}), AMD)

"""Names and images: finding, moving, removing."""

import pytest

from runtime import errors
from runtime.contract.image import Image
from runtime.image.catalog import Catalog, Entry, names_of, plan_removal
from runtime.image.manifest import OCI_MANIFEST, Descriptor
from runtime.imageconfig import ImageConfig

A, B = ("sha256:" + "abc" + "0" * 61, "sha256:" + "abd" + "0" * 61)
NOBODY = Catalog()


def entry(image_id: str, *tags: str, digests: tuple[str, ...] = (), created: str = "") -> Entry:
    manifest = "sha256:" + image_id[7:][::-1]
    image = Image(
        id=image_id, manifest_digest=manifest, index_digest="", repo_tags=tags,
        repo_digests=digests, created=created, os="linux", architecture="amd64", variant="",
        config=ImageConfig(), diff_ids=(), layer_digests=(), history=(), size_bytes=0,
    )  # fmt: skip
    return Entry(image=image, manifest=Descriptor(mediaType=OCI_MANIFEST, digest=manifest, size=1))


def both() -> Catalog:
    digest = (f"app@{B}",)
    first = entry(A, "app:1", "app:2", digests=digest, created="2026-01-01T00:00:00Z")
    second = entry(B, "localhost:5000/x:latest", created="2026-01-01T01:30:00.123456789+02:00")
    return NOBODY.with_image(first).with_image(second)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (A, A), (A[7:], A), ("abc", A), ("sha256:abd", B), ("app:1", A), (f"app@{B}", A),
        (f"app:1@{B}", A), ("docker.io/library/app:2", A), ("localhost:5000/x", B),
        (f"sha256:{A[7:][::-1]}", A),
    ],
)  # fmt: skip
def test_find(name, found):
    assert both().find(name).id == found


@pytest.mark.parametrize(
    "name", ["app", "nothing", "abe", "f" * 64, f"app@{A}", "sha256:ff", A + "0"]
)
def test_missing(name):
    with pytest.raises((errors.Missing, errors.Invalid)):
        both().find(name)


@pytest.mark.parametrize("name", ["ab", "", "No Name", "sha256:ab"])
def test_ambiguous_or_no_name(name):
    with pytest.raises(errors.Invalid):
        both().find(name)


def test_newest_first():
    assert [image.id for image in both().images()] == [A, B]


def test_a_name_has_one_image():
    catalog = both().with_tag(B, "app:1")
    assert catalog.find("app:1").id == B
    assert catalog.find(A).repo_tags == ("app:2",)
    assert catalog.with_tag(B, "app:1") == catalog


def test_the_same_image_again_keeps_its_names():
    catalog = both().with_image(entry(A, "new:1"))
    assert catalog.find("app:1").repo_tags == ("app:1", "app:2", "new:1")


def test_index_holds_all_names():
    catalog = both().without_names(B, ["localhost:5000/x:latest"])
    names = names_of(catalog.index().manifests)
    assert names[catalog.find(A).manifest_digest].tags == ("app:1", "app:2")
    assert names[catalog.find(A).manifest_digest].repo_digests == (f"app@{B}",)
    assert names[catalog.find(B).manifest_digest].tags == ()


def plan(catalog: Catalog, name: str, *, force: bool = False) -> tuple[tuple[str, ...], bool]:
    removal = plan_removal(catalog, name, force=force)
    return removal.names, removal.delete


def test_removal():
    catalog = both()
    assert plan(catalog, "app:1") == (("app:1",), False)
    assert plan(catalog, f"app@{B}") == ((f"app@{B}",), False)
    assert plan(catalog, A) == (("app:1", "app:2", f"app@{B}"), True)
    assert plan(catalog, "localhost:5000/x") == (("localhost:5000/x:latest",), True)
    one_left = catalog.without_names(A, ["app:2"])
    assert plan(one_left, "app:1") == (("app:1", f"app@{B}"), True)


def test_removal_by_id_with_two_repositories():
    catalog = both().with_tag(A, "other:1")
    with pytest.raises(errors.Conflict):
        plan(catalog, "abc")
    assert plan(catalog, "abc", force=True)[1]
    assert plan(catalog, "app:2") == (("app:2",), False)

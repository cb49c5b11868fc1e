"""Which images there are and what they are called. Pure: a change gives a new catalog."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Self

import msgspec

from runtime import errors
from runtime.contract.image import Image
from runtime.image.depot import layer_key
from runtime.image.manifest import Descriptor, Index
from runtime.image.reference import Reference, parse_reference

# Annotations of index.json. The first is the OCI's; skopeo and others find an image by it.
REF_NAME: Final = "org.opencontainers.image.ref.name"
REPO_DIGESTS: Final = "nodeagent.repo-digests"
INDEX_DIGEST: Final = "nodeagent.index-digest"
HEX: Final = frozenset("0123456789abcdef")
OLDEST: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What an image is called, and what was said about its manifest."""

    tags: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()
    index_digest: str = ""
    media_type: str = ""  # for a manifest that does not name its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An image and how its manifest is described."""

    image: Image
    manifest: Descriptor  # without names


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Images by id; names are in the images."""

    entries: Mapping[str, Entry] = field(default_factory=dict)

    def images(self) -> list[Image]:
        """All images, newest first."""
        images = (entry.image for entry in self.entries.values())
        return sorted(images, key=lambda image: (_moment(image.created), image.id), reverse=True)

    def find(self, name: str) -> Image:
        """Find by id, digest, name or unique id prefix.

        Raises:
            Invalid: not a name, or more than one image. Missing: none.
        """
        if exact := self.entries.get(name) or self.entries.get(f"sha256:{name}"):
            return exact.image
        found = self._by_digest(name) or self._by_name(name) or self._by_prefix(name)
        if not found:
            raise errors.Missing("no such image", name=name[:300])
        if len(found) > 1:
            raise errors.Invalid("find image", name=name, why="more than one image begins so")
        return found[0]

    def uses(self) -> set[str]:
        """The blobs, and the layers by their key, that some image needs."""
        used: set[str] = set()
        for entry in self.entries.values():
            image = entry.image
            used |= {image.id, image.manifest_digest, image.index_digest, *image.layer_digests}
            used |= set(map(layer_key, image.diff_ids))
        return used

    def with_image(self, entry: Entry) -> Self:
        """Add an image; names it brings move to it, and it keeps those it has."""
        image = entry.image
        old = self.entries.get(image.id)
        base = old if old is not None else entry
        tags = {*base.image.repo_tags, *image.repo_tags}
        digests = {*base.image.repo_digests, *image.repo_digests}
        named = replace(
            base.image, repo_tags=tuple(sorted(tags)), repo_digests=tuple(sorted(digests))
        )
        others = {
            key: _without_names(other, set(image.repo_tags)) for key, other in self.entries.items()
        }
        return replace(self, entries={**others, image.id: replace(base, image=named)})

    def with_tag(self, image_id: str, repo_tag: str) -> Self:
        """Give an image a name, taking it from whoever had it."""
        entry = self.entries[image_id]
        tagged = replace(entry.image, repo_tags=(repo_tag,))
        return self.with_image(replace(entry, image=tagged))

    def without_names(self, image_id: str, names: Iterable[str]) -> Self:
        """Take names from an image; it stays, perhaps nameless."""
        entry = _without_names(self.entries[image_id], set(names))
        return replace(self, entries={**self.entries, image_id: entry})

    def without_image(self, image_id: str) -> Self:
        kept = {key: entry for key, entry in self.entries.items() if key != image_id}
        return replace(self, entries=kept)

    def index(self) -> Index:
        """As index.json has it: one descriptor per name, one for a nameless image."""
        rows = [row for entry in self.entries.values() for row in _rows(entry)]
        return Index(manifests=rows)

    def _by_digest(self, name: str) -> list[Image]:
        """``sha256:…`` of a manifest or a list."""
        if not name.startswith("sha256:"):
            return []
        images = (entry.image for entry in self.entries.values())
        return [one for one in images if name in {one.manifest_digest, one.index_digest}]

    def _by_name(self, name: str) -> list[Image]:
        try:
            ref = parse_reference(name)
        except errors.Invalid:
            if name and all(char in HEX for char in name.removeprefix("sha256:")):
                return []
            raise
        images = [entry.image for entry in self.entries.values()]
        if ref.digest:
            digest = ref.repo_digest(ref.digest)
            return [one for one in images if digest in one.repo_digests]
        return [one for one in images if ref.repo_tag in one.repo_tags]

    def _by_prefix(self, name: str) -> list[Image]:
        prefix = name.removeprefix("sha256:")
        if not prefix or not all(char in HEX for char in prefix):
            return []
        return [
            entry.image for key, entry in self.entries.items() if key.startswith(f"sha256:{prefix}")
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What removing a name means: these names go, and perhaps the image."""

    image_id: str
    names: tuple[str, ...]
    delete: bool


def plan_removal(catalog: Catalog, name: str, *, force: bool) -> Removal:
    """Decide as Docker does: a name is untagged, an id deletes; the last name deletes too.

    Raises:
        Conflict: an id with names in several repositories, without force. Missing, Invalid.
    """
    image = catalog.find(name)
    every = (*image.repo_tags, *image.repo_digests)
    ref = _as_name_of(image, name)
    if ref is None:
        repositories = {_repository(one) for one in every}
        if len(repositories) > 1 and not force:
            why = "it has names in several repositories; name one, or force"
            raise errors.Conflict("remove image", id=image.id, names=",".join(every), why=why)
        return Removal(image_id=image.id, names=every, delete=True)
    gone = {ref.repo_digest(ref.digest) if ref.digest else ref.repo_tag}
    same = [one for one in image.repo_tags if _repository(one) == ref.familiar_name]
    if not ref.digest and set(same) <= gone:  # with a repository's last tag its digests go
        gone |= {one for one in image.repo_digests if _repository(one) == ref.familiar_name}
    names = tuple(one for one in every if one in gone)
    return Removal(image_id=image.id, names=names, delete=set(every) <= gone)


def names_of(descriptors: Iterable[Descriptor]) -> dict[str, Names]:
    """The names of each manifest in an index.json, by its digest."""
    found: dict[str, Names] = {}
    for row in descriptors:
        notes = row.annotations or {}
        before = found.get(row.digest, Names())
        found[row.digest] = Names(
            tags=(*before.tags, *([notes[REF_NAME]] if REF_NAME in notes else [])),
            repo_digests=tuple(notes.get(REPO_DIGESTS, "").split()),
            index_digest=notes.get(INDEX_DIGEST, ""),
            media_type=row.mediaType,
        )
    return found


def _rows(entry: Entry) -> list[Descriptor]:
    image = entry.image
    notes = {REPO_DIGESTS: " ".join(image.repo_digests), INDEX_DIGEST: image.index_digest}
    notes = {key: value for key, value in notes.items() if value}
    named = [{**notes, REF_NAME: tag} for tag in image.repo_tags] or [notes]
    return [msgspec.structs.replace(entry.manifest, annotations=one) for one in named]


def _without_names(entry: Entry, names: set[str]) -> Entry:
    image = entry.image
    if names.isdisjoint((*image.repo_tags, *image.repo_digests)):
        return entry
    tags = tuple(one for one in image.repo_tags if one not in names)
    digests = tuple(one for one in image.repo_digests if one not in names)
    return replace(entry, image=replace(image, repo_tags=tags, repo_digests=digests))


def _as_name_of(image: Image, name: str) -> Reference | None:
    """The name that was meant, or None if an id or digest was given."""
    try:
        ref = parse_reference(name)
    except errors.Invalid:
        return None
    known = ref.repo_digest(ref.digest) if ref.digest else ref.repo_tag
    return ref if known in (*image.repo_tags, *image.repo_digests) else None


def _repository(name: str) -> str:
    return name.partition("@")[0] if "@" in name else name.rpartition(":")[0]


def _moment(created: str) -> datetime:
    """RFC 3339 as a moment; what cannot be read counts as oldest."""
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return OLDEST
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

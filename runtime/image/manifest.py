"""Manifests, lists and configs: hostile JSON read strictly, and our own built. Pure."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar

import msgspec

from runtime import errors
from runtime.contract.image import HistoryRow
from runtime.image.platform import Platform
from runtime.image.reference import is_digest
from runtime.imageconfig import HealthCheck, ImageConfig

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
INDEXES: Final = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIGS: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})
LAYERS: Final = frozenset(
    {OCI_LAYER, f"{OCI_LAYER}+gzip", f"{OCI_LAYER}+zstd", DOCKER_LAYER, f"{DOCKER_LAYER}.gzip"}
    | {f"{DOCKER_LAYER}.zstd"}
)
MANIFEST_MAX_BYTES: Final = 4 << 20  # what registries accept
CONFIG_MAX_BYTES: Final = 8 << 20
NS_PER_S: Final = 1_000_000_000
LAYERS_MAX: Final = 500  # overlayfs stacks no more

Int64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]  # as Docker reads it
T = TypeVar("T", bound=msgspec.Struct)


class PlatformJson(msgspec.Struct, frozen=True, kw_only=True):
    """A platform in a manifest list."""

    os: str = ""
    architecture: str = ""
    variant: str = ""


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a blob is, how long, and what."""

    mediaType: str  # noqa: N815  (the wire's name)
    digest: str
    size: int
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None
    platform: PlatformJson | None = None


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest list, or the index of a layout."""

    schemaVersion: int = 2  # noqa: N815
    mediaType: str = OCI_INDEX  # noqa: N815
    manifests: list[Descriptor]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One image: its config and layers."""

    schemaVersion: int = 2  # noqa: N815
    mediaType: str = OCI_MANIFEST  # noqa: N815
    config: Descriptor
    layers: list[Descriptor]


class HistoryJson(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row of a config's history."""

    created: str | None = None
    created_by: str | None = None
    comment: str | None = None
    empty_layer: bool | None = None


class RootfsJson(msgspec.Struct, frozen=True, kw_only=True):
    """The uncompressed layers' hashes."""

    type: str = "layers"
    diff_ids: list[str]


class HealthJson(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """Docker's ``HEALTHCHECK``; times are nanoseconds, 0 is the default."""

    test: list[str] | None = None
    interval: Int64 | None = None
    timeout: Int64 | None = None
    start_period: Int64 | None = None
    start_interval: Int64 | None = None
    retries: Int64 | None = None


class RunJson(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """How to run the image; Docker writes null for what is empty."""

    user: str | None = None
    exposed_ports: dict[str, object] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | str | None = None
    cmd: list[str] | str | None = None
    volumes: dict[str, object] | None = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    healthcheck: HealthJson | None = None
    shell: list[str] | None = None


class ConfigJson(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An image config, as far as we read it."""

    created: str | None = None
    architecture: str = ""
    os: str = ""
    variant: str | None = None
    config: RunJson | None = None
    rootfs: RootfsJson
    history: list[HistoryJson] | None = None


class _Probe(msgspec.Struct, frozen=True):
    """Just enough to tell what a document says it is."""

    mediaType: str = ""  # noqa: N815
    schemaVersion: int = 0  # noqa: N815
    config: object = None
    layers: object = None
    manifests: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRef:
    """A layer as manifest and config name it together."""

    digest: str
    size_bytes: int  # of the blob
    diff_id: str


class _Tags(msgspec.Struct, frozen=True):
    tags: list[str] | None = None


def parse_tags(body: bytes) -> list[str]:
    """Read a page of a repository's tags (Refused)."""
    return _decode(body, _Tags, "read tags", MANIFEST_MAX_BYTES).tags or []


def digest_of(data: bytes) -> str:
    """The digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def parse_document(body: bytes, content_type: str) -> Index | Manifest:
    """Read a manifest or a list, whichever it says it is.

    Raises:
        Refused: neither, or both (which hides one from whoever checks the other), or malformed.
    """
    probe = _decode(body, _Probe, "parse manifest", MANIFEST_MAX_BYTES)
    if probe.schemaVersion != 2:
        raise errors.Refused("parse manifest", schema=probe.schemaVersion, want="schema 2 or OCI")
    kind = probe.mediaType or content_type.partition(";")[0].strip()
    if kind in INDEXES and probe.layers is None and probe.config is None:
        return _checked_index(_decode(body, Index, "parse manifest list", MANIFEST_MAX_BYTES))
    if kind in MANIFESTS and probe.manifests is None:
        return _checked(_decode(body, Manifest, "parse manifest", MANIFEST_MAX_BYTES), kind)
    raise errors.Refused("parse manifest", media_type=kind[:200], why="not an image")


def parse_config(body: bytes) -> ConfigJson:
    """Read an image config (Refused)."""
    config = _decode(body, ConfigJson, "parse image config", CONFIG_MAX_BYTES)
    diff_ids = config.rootfs.diff_ids
    if config.rootfs.type != "layers" or not all(is_digest(one) for one in diff_ids):
        raise errors.Refused("parse image config", why="bad rootfs")
    if len(diff_ids) > LAYERS_MAX:
        raise errors.Refused("parse image config", layers=len(diff_ids), limit=LAYERS_MAX)
    return config


def parse_layout_index(body: bytes) -> Index:
    """Read the index.json of an OCI layout (Refused)."""
    return _checked_index(_decode(body, Index, "parse index.json", 64 << 20))


def pair_layers(manifest: Manifest, config: ConfigJson) -> tuple[LayerRef, ...]:
    """Match blobs to content hashes; they must be as many (Refused)."""
    blobs, diff_ids = manifest.layers, config.rootfs.diff_ids
    if len(blobs) != len(diff_ids):
        raise errors.Refused("match config to manifest", layers=len(blobs), diff_ids=len(diff_ids))
    return tuple(
        LayerRef(digest=blob.digest, size_bytes=blob.size, diff_id=diff_id)
        for blob, diff_id in zip(blobs, diff_ids, strict=True)
    )


def platform_of(config: ConfigJson) -> Platform:
    """What the image was made for; no answer means linux."""
    return Platform(
        os=config.os or "linux", architecture=config.architecture, variant=config.variant or ""
    )


def run_config(config: ConfigJson) -> ImageConfig:
    """The part that says how to run it, in our words."""
    run = config.config or RunJson()
    return ImageConfig(
        entrypoint=_words(run.entrypoint),
        cmd=_words(run.cmd),
        env=tuple(run.env or ()),
        working_dir=run.working_dir or "",
        user=run.user or "",
        exposed_ports=tuple(sorted(run.exposed_ports or ())),
        volumes=tuple(sorted(run.volumes or ())),
        labels=dict(run.labels or {}),
        stop_signal=run.stop_signal or "",
        healthcheck=_read_health(run.healthcheck),
        shell=tuple(run.shell or ()),
    )


def _read_health(found: HealthJson | None) -> HealthCheck | None:
    """What an image says of its health; without a test it says nothing."""
    if found is None or not found.test:
        return None
    return HealthCheck(
        test=tuple(found.test),
        interval_s=(found.interval or 0) / NS_PER_S,
        timeout_s=(found.timeout or 0) / NS_PER_S,
        start_period_s=(found.start_period or 0) / NS_PER_S,
        start_interval_s=(found.start_interval or 0) / NS_PER_S,
        retries=found.retries or 0,
    )


def _write_health(check: HealthCheck | None) -> HealthJson | None:
    if check is None:
        return None
    return HealthJson(
        test=list(check.test),
        interval=round(check.interval_s * NS_PER_S) or None,
        timeout=round(check.timeout_s * NS_PER_S) or None,
        start_period=round(check.start_period_s * NS_PER_S) or None,
        start_interval=round(check.start_interval_s * NS_PER_S) or None,
        retries=check.retries or None,
    )


def history_of(config: ConfigJson, sizes: Sequence[int]) -> tuple[HistoryRow, ...]:
    """The build's steps with the size of the layer each made."""
    left = iter(sizes)
    return tuple(
        HistoryRow(
            created=row.created or "",
            created_by=row.created_by or "",
            comment=row.comment or "",
            empty_layer=bool(row.empty_layer),
            size_bytes=0 if row.empty_layer else next(left, 0),
        )
        for row in config.history or ()
    )


def build_manifest(config: Descriptor, layers: Sequence[Descriptor]) -> bytes:
    """An OCI manifest."""
    return msgspec.json.encode(Manifest(config=config, layers=list(layers)))


def build_config(
    config: ImageConfig, diff_id: str, *, platform: Platform, created: str, message: str
) -> bytes:
    """The config of a one-layer image."""
    document = ConfigJson(
        created=created,
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant or None,
        config=run_json(config),
        rootfs=RootfsJson(diff_ids=[diff_id]),
        history=[HistoryJson(created=created, comment=message)],
    )
    return msgspec.json.encode(document)


def run_json(config: ImageConfig) -> RunJson:
    """How to run the image, in the document's words."""
    return RunJson(
        user=config.user or None,
        exposed_ports=_keys(config.exposed_ports),
        env=list(config.env) or None,
        entrypoint=list(config.entrypoint) or None,
        cmd=list(config.cmd) or None,
        volumes=_keys(config.volumes),
        working_dir=config.working_dir or None,
        labels=dict(config.labels) or None,
        stop_signal=config.stop_signal or None,
        healthcheck=_write_health(config.healthcheck),
        shell=list(config.shell) or None,
    )


def _decode(body: bytes, kind: type[T], doing: str, limit: int) -> T:
    if len(body) > limit:
        raise errors.Refused(doing, size=len(body), limit=limit)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as exc:
        raise errors.Refused(doing, why=str(exc)[:300]) from exc


def _checked(manifest: Manifest, kind: str) -> Manifest:
    if manifest.config.mediaType not in CONFIGS:
        kind = manifest.config.mediaType
        raise errors.Refused("parse manifest", config_type=kind[:200], why="not a runnable image")
    if len(manifest.layers) > LAYERS_MAX:
        raise errors.Refused("parse manifest", layers=len(manifest.layers), limit=LAYERS_MAX)
    for layer in manifest.layers:
        if layer.mediaType not in LAYERS:
            raise errors.Refused("parse manifest", layer_type=layer.mediaType[:200])
    _check_descriptors([manifest.config, *manifest.layers])
    return msgspec.structs.replace(manifest, mediaType=kind)


def _checked_index(index: Index) -> Index:
    _check_descriptors(index.manifests)
    return index


def _check_descriptors(descriptors: Sequence[Descriptor]) -> None:
    for one in descriptors:
        if not is_digest(one.digest) or one.size < 0:
            raise errors.Refused("parse manifest", digest=one.digest[:200], size=one.size)


def _words(value: list[str] | str | None) -> tuple[str, ...]:
    """Very old images have a string where a list belongs."""
    return (value,) if isinstance(value, str) else tuple(value or ())


def _keys(names: Sequence[str]) -> dict[str, object] | None:
    return {name: {} for name in names} or None

"""Views of images, in Docker's spelling."""

from msgspec import Struct, field

from nodeagent.model.health import HealthcheckView


class _View(Struct, frozen=True, kw_only=True, rename="pascal"):
    """Docker's spelling."""


class ImageConfigView(_View, frozen=True, kw_only=True):
    user: str
    exposed_ports: dict[str, dict[str, str]]
    env: list[str]
    entrypoint: list[str] | None
    cmd: list[str] | None
    volumes: dict[str, dict[str, str]]
    working_dir: str
    labels: dict[str, str]
    stop_signal: str
    healthcheck: HealthcheckView | None


class RootFsView(_View, frozen=True, kw_only=True):
    type: str
    layers: list[str]  # content hashes (diffID)
    distribution_digests: list[str]  # distribution hashes, same order


class ImageView(_View, frozen=True, kw_only=True):
    """One element of ``image.inspect``."""

    id: str
    repo_tags: list[str]
    repo_digests: list[str]
    created: str
    architecture: str
    variant: str
    os: str
    size: int
    config: ImageConfigView
    root_fs: RootFsView = field(name="RootFS")
    manifest_digest: str
    index_digest: str


class ImageRow(_View, frozen=True, kw_only=True):
    """One line of ``image.ls``: one per tag, or one untagged."""

    id: str = field(name="ID")
    repository: str
    tag: str
    digest: str
    created_at: str
    created_since: str
    size: str
    size_bytes: int
    containers: int


class HistoryView(_View, frozen=True, kw_only=True):
    """One line of ``image.history``, newest first."""

    id: str = field(name="ID")
    created_at: str
    created_since: str
    created_by: str
    size: str
    size_bytes: int
    comment: str


class PullItem(Struct, frozen=True, kw_only=True):
    """Stream item of ``image.pull`` and ``image.load``."""

    layer: str
    status: str
    current_bytes: int
    total_bytes: int


class ImageRemoved(_View, frozen=True, kw_only=True):
    untagged: list[str]
    deleted: list[str]

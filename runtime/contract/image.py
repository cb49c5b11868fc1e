"""What the image store offers, as data and a Protocol.

Callers see this, never a concrete class. Digests are strings ``sha256:<64 hex>``; sizes are
bytes; times RFC 3339.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from runtime.imageconfig import ImageConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """One instruction of an image's build, newest last as in the OCI config."""

    created: str
    created_by: str
    comment: str
    empty_layer: bool
    size_bytes: int  # uncompressed size of the layer it made, 0 for metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image in the store, whatever its names."""

    id: str  # digest of the config blob
    manifest_digest: str
    index_digest: str  # digest of the list it was chosen from, "" if none
    repo_tags: tuple[str, ...]  # "busybox:latest", Docker's familiar form
    repo_digests: tuple[str, ...]  # "busybox@sha256:…"
    created: str
    os: str
    architecture: str
    variant: str
    config: ImageConfig
    diff_ids: tuple[str, ...]  # content hash per layer, base first
    layer_digests: tuple[str, ...]  # distribution hash per layer, base first
    history: tuple[HistoryRow, ...]
    size_bytes: int  # sum of uncompressed layer sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step of one layer of a pull, load or push; few enough of them to show each."""

    layer: str  # 12 hex digits of the blob's digest; "" for the image as a whole
    status: Literal[
        "resolving",
        "waiting",
        "exists",
        "downloading",
        "retrying",
        "extracting",
        "done",
        "checking",
        "mounted",
        "pushing",
    ]
    current_bytes: int = 0
    total_bytes: int = 0  # 0: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedImage:
    """What ``Images.rm`` did."""

    untagged: tuple[str, ...]
    deleted: tuple[str, ...]  # image ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who asks a registry; user ``<token>``: the password is a refresh token."""

    user: str
    password: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What a further layer makes of an image."""

    config: ImageConfig
    created: str  # RFC 3339
    created_by: str  # the instruction in the history
    ref: str = ""  # its name; "" for none
    author: str = ""
    message: str = ""


class Images(Protocol):
    """The image store of one host. Look-ups are from memory; changes are durable on return."""

    async def open(self) -> None:
        """Read the store and remove what an earlier, killed process left half-made."""

    async def pull(
        self,
        ref: str,
        *,
        platform: str,
        progress: Callable[[Progress], None],
        login: Login | None = None,
    ) -> Image:
        """Fetch ``ref`` (tag or digest) from its registry; ``platform`` "" is this host's.

        Raises:
            Invalid: bad reference. Missing: no such image. Refused: a hash, size or form is wrong.
            Unavailable: the registry does not answer. Exhausted: disk full.
        Cancel: nothing stays but whole, verified layers that another image uses.
        """
        ...

    async def push(
        self, ref: str, *, progress: Callable[[Progress], None], login: Login | None = None
    ) -> str:
        """Bring an image to the registry of its name; the digest of its manifest there.

        Raises:
            Missing: no such image. Refused: the registry does not allow it, or answers nonsense.
            Unavailable: it does not answer.
        Cancel: the registry may keep blobs that nothing names.
        """
        ...

    async def tags(self, ref: str, *, login: Login | None = None) -> list[str]:
        """All tags that a registry has of a repository (Missing, Refused, Unavailable)."""
        ...

    def save(self, names: Sequence[str]) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """An archive of images, for ``docker load`` and readers of OCI layouts alike (Missing)."""
        ...

    async def login(self, domain: str, login: Login) -> None:
        """Ask a registry whether a name and password are good (Refused, Unavailable)."""

    async def load(
        self, chunks: AsyncIterator[bytes], *, progress: Callable[[Progress], None]
    ) -> list[Image]:
        """Take a ``docker save`` or OCI archive (tar, maybe gzip or zstd)."""
        ...

    async def import_rootfs(
        self,
        chunks: AsyncIterator[bytes],
        *,
        ref: str,
        config: ImageConfig,
        message: str,
        created: str,
    ) -> Image:
        """Make a one-layer image of a root filesystem tar; ``ref`` may be ""."""
        ...

    async def commit(self, parent: Image, chunks: AsyncIterator[bytes], draft: Commit) -> Image:
        """Make an image of another one and the tar of one more layer, with whiteouts.

        Raises:
            Invalid: bad name. Missing: the parent is gone. Exhausted: disk full.
        Cancel: nothing stays.
        """
        ...

    def ls(self) -> list[Image]:
        """All images, newest first."""
        ...

    def get(self, name: str) -> Image:
        """Find by name (``:latest`` implied), digest, id or unique id prefix (Missing, Invalid)."""
        ...

    async def tag(self, source: str, target: str) -> None:
        """Add a name to an image; a name that stood elsewhere moves (as Docker's tag does)."""

    async def rm(
        self, name: str, *, force: bool, users: Callable[[str], list[str]]
    ) -> RemovedImage:
        """Untag ``name``; delete the image and its unshared layers when it was the last name.

        ``users(image_id)`` names the containers that need it: Busy if any (``force`` does not help
        when the image would be deleted).
        """
        ...

    def used_bytes(self) -> int:
        """Disk use of blobs and unpacked layers, kept up to date, no tree walk."""
        ...

    def layer_paths(self, image: Image) -> list[Path]:
        """Unpacked layer directories, base first, for overlayfs."""
        ...

"""A store for tests, uploads in pieces, and what is on its disk."""

import subprocess
from pathlib import Path

from runtime.contract.image import Progress
from runtime.image.registry import RegistryOptions
from runtime.image.store import ImageStore

FAST = RegistryOptions(tries=3, wait_s=0.01)


def ignore(_: Progress) -> None:
    """For callers that do not care how it comes along."""


def nobody(_image_id: str) -> list[str]:
    return []


async def opened(root: Path, **options) -> ImageStore:
    store = ImageStore(root, **{"registry": FAST, **options})
    await store.open()
    return store


class Upload:
    """Bytes in pieces; no generator, so there is nothing to close on failure."""

    def __init__(self, data: bytes, size: int = 65536) -> None:
        self._rest = (data[at : at + size] for at in range(0, len(data), size))

    def __aiter__(self):
        return self

    async def __anext__(self) -> bytes:
        for piece in self._rest:
            return piece
        raise StopAsyncIteration


def files(root: Path) -> set[str]:
    """All files of a store and all names in its tmp, but those of the layout itself."""
    base = root / "images"
    found = {path for path in base.rglob("*") if not path.is_dir()}
    names = {str(path.relative_to(base)) for path in found | set((base / "tmp").iterdir())}
    return names - {"oci-layout", "index.json"}


def skopeo(*words: object) -> str:
    """Run skopeo and return what it said."""
    command = ["skopeo", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout

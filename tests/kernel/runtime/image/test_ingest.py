"""Root filesystems from tars, and what a stream must turn out to be."""

import gzip
import lzma
import os

import pytest

from runtime import errors
from runtime.image.ingest import Wanted, ingest
from runtime.image.untar import Limits, Unpacked
from runtime.imageconfig import ImageConfig
from tests.fakes.registry_images import (
    sha,
    tar_of,
)
from tests.fakes.registry_store import Upload, opened, skopeo

NOISE = os.urandom(3 << 20)


ONE = tar_of(("a", b"first"), ("noise", NOISE))


TWO = tar_of(("b", b"second"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
async def test_import(tmp_path, pack):
    store = await opened(tmp_path)
    config = ImageConfig(
        cmd=("sh",), env=("A=1",), volumes=("/data",), exposed_ports=("80/tcp",), labels={"a": "b"},
        working_dir="/w", user="nobody", entrypoint=("/e",), stop_signal="SIGINT",
    )  # fmt: skip
    made = await store.import_rootfs(
        Upload(pack(ONE)),
        ref="base",
        config=config,
        message="from a tar",
        created="2026-05-01T10:00:00Z",
    )
    assert made.config == config
    assert made.diff_ids == (sha(ONE),)
    assert made.history[0].comment == "from a tar"
    assert made.repo_tags == ("base:latest",)
    assert (await opened(tmp_path)).ls() == [made]
    skopeo("inspect", f"oci:{tmp_path}/images:base:latest")


def unpacked(tmp_path, data: bytes, **wanted):
    chunks = (data[at : at + 999] for at in range(0, len(data), 999))
    return ingest(chunks, tmp_path / "draft", Wanted(**wanted), Limits())


def test_what_a_stream_was(tmp_path):
    packed = gzip.compress(TWO)
    made = unpacked(tmp_path, packed)
    assert (made.digest, made.blob_bytes, made.diff_id) == (sha(packed), len(packed), sha(TWO))
    assert (tmp_path / "draft/blob").read_bytes() == packed
    assert made.unpacked == Unpacked(entries=1, size_bytes=6, disk_bytes=4096)


def test_an_odd_compression_is_kept_as_plain_tar(tmp_path):
    made = unpacked(tmp_path, lzma.compress(TWO))
    assert (made.digest, made.diff_id, made.media_type[-4:]) == (sha(TWO), sha(TWO), ".tar")
    assert (tmp_path / "draft/blob").read_bytes() == TWO


@pytest.mark.parametrize(
    "wanted",
    [{"digest": sha(b"")}, {"size_bytes": 5}, {"size_bytes": 1 << 20}, {"diff_id": sha(b"")}],
)
def test_anything_else_is_refused(tmp_path, wanted):
    with pytest.raises(errors.Refused):
        unpacked(tmp_path, gzip.compress(TWO), **wanted)


def test_what_follows_the_tar_counts_too(tmp_path):
    data = TWO + bytes(5000) + b"and more"
    assert unpacked(tmp_path, data).diff_id == sha(data)

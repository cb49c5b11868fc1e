"""An image's config with one more layer."""

import gzip
import json

import pytest

from runtime import errors
from runtime.contract.image import Commit
from runtime.image.child import child_config, gzipped
from runtime.imageconfig import ImageConfig

DRAFT = Commit(
    config=ImageConfig(cmd=("sh",), env=("A=b",)),
    created="2026-01-01T00:00:00Z",
    created_by="sh",
    author="who",
    message="why",
)
PARENT = {
    "architecture": "amd64",
    "os": "linux",
    "os.version": "kept",
    "container": "old",
    "config": {"Cmd": ["old"], "Env": ["X=y"]},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:1"]},
    "history": [{"created_by": "first"}],
}


def test_layer_row_and_config_are_added_and_the_rest_stays():
    made = json.loads(child_config(json.dumps(PARENT).encode(), DRAFT, "sha256:2"))
    assert made["rootfs"] == {"type": "layers", "diff_ids": ["sha256:1", "sha256:2"]}
    assert [row["created_by"] for row in made["history"]] == ["first", "sh"]
    assert made["history"][1]["comment"] == "why"
    assert made["config"] == {"Cmd": ["sh"], "Env": ["A=b"]}
    assert (made["os.version"], made["author"], made["created"]) == ("kept", "who", DRAFT.created)
    assert "container" not in made


def test_a_parent_without_history_gets_one():
    made = json.loads(child_config(b'{"rootfs":{"diff_ids":null}}', DRAFT, "sha256:2"))
    assert made["rootfs"]["diff_ids"] == ["sha256:2"]
    assert len(made["history"]) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"rootfs":[]}', b'{"rootfs":{"diff_ids":[1]}}', b"\xff", b'{"history":1}'],
)
def test_a_damaged_parent_is_refused(body):
    with pytest.raises(errors.Refused):
        child_config(body, DRAFT, "sha256:2")


def test_equal_bytes_are_packed_equally():
    chunks = [b"a" * 1000, b"", b"b"]
    packed = b"".join(gzipped(iter(chunks)))
    assert gzip.decompress(packed) == b"".join(chunks)
    assert packed == b"".join(gzipped(iter([b"".join(chunks)])))

"""A backup is believed only whole."""

import hashlib

import msgspec
import pytest
import zstandard

from nodeagent.cluster.backupfile import MAGIC, Backup, build_backup, is_kept, parse_backup
from nodeagent.errors import Invalid

BACKUP = Backup(cluster="c", revision=7, taken="2026-11-27T12:00:00Z", rows={"a/b": b"\0\xff"})


def with_body(body):
    return MAGIC + hashlib.sha256(body).digest() + body


def test_what_was_built_is_parsed():
    assert parse_backup(build_backup(BACKUP)) == BACKUP


@pytest.mark.parametrize("cut", [0, 5, len(MAGIC), len(MAGIC) + 31, -1])
def test_a_part_of_it_is_refused(cut):
    with pytest.raises(Invalid):
        parse_backup(build_backup(BACKUP)[:cut])


def test_every_changed_byte_is_noticed():
    data = build_backup(BACKUP)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(Invalid):
            parse_backup(bytes(changed))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"no zstd", zstandard.compress(b"no msgpack"), zstandard.compress(b"\xc0"),
        zstandard.compress(msgspec.msgpack.encode({"cluster": "c"})),
        zstandard.compress(bytes(600 << 20)),
    ],
)  # fmt: skip
def test_what_is_whole_and_no_backup_is_refused(body):
    with pytest.raises(Invalid, match="field=file"):
        parse_backup(with_body(body))


def test_a_later_format_is_told():
    with pytest.raises(Invalid, match="another format"):
        parse_backup(MAGIC.replace(b"1", b"2") + b"x")


def test_what_lives_with_a_nodes_lease_is_not_kept():
    keys = ("node/a/alive", "fence/a", "lease/db", "node/a/spec")
    assert [key for key in keys if is_kept(key)] == ["lease/db", "node/a/spec"]

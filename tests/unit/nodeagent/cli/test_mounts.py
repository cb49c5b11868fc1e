from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.cli.grammar import UsageError
from nodeagent.cli.mounts import parse_mount, parse_tmpfs, parse_volume
from nodeagent.model.containerrequest import MountRequest


def _volume(source, target, **more):
    return {"type": "volume", "source": source, "target": target, **more}


def _bind(source, target, **more):
    return {"type": "bind", "source": source, "target": target, **more}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("/data", {"type": "volume", "target": "/data"}),
        ("data:/www", _volume("data", "/www")),
        ("data:/www:ro", _volume("data", "/www", read_only=True)),
        ("data:/www:rw", _volume("data", "/www")),
        ("data:/www:ro,nocopy", _volume("data", "/www", read_only=True, no_copy=True)),
        ("/srv:/www", _bind("/srv", "/www")),
        ("/srv:/www:rshared", _bind("/srv", "/www", propagation="rshared")),
        ("/srv:/www:z,ro", _bind("/srv", "/www", read_only=True)),
        ("./site:/www", _bind("/here/site", "/www")),
        ("..:/www", _bind("/", "/www")),
        (".:/www", _bind("/here", "/www")),
    ],
)
def test_volumes(words, wanted):
    assert parse_volume(words, "/here") == wanted


@pytest.mark.parametrize(
    "words",
    ["", "data", "data:", "data:www", ":/www", "data:/", "/", "a:/b:frob", "a:/b:ro:c", "a:/b:"],
)
def test_bad_volumes(words):
    with pytest.raises(UsageError, match=r"^--volume: "):
        parse_volume(words, "/here")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("source=data,target=/www", _volume("data", "/www")),
        ("type=volume,src=data,dst=/www,readonly", _volume("data", "/www", read_only=True)),
        ("type=bind,source=/srv,destination=/www,ro=false", _bind("/srv", "/www", read_only=False)),
        ("type=bind,src=a b,dst=/www", _bind("/here/a b", "/www")),
        ("type=bind,src=/s,dst=/w,bind-propagation=rslave",
         _bind("/s", "/w", propagation="rslave")),
        ("src=d,dst=/w,volume-nocopy", _volume("d", "/w", no_copy=True)),
        ("dst=/w", {"type": "volume", "target": "/w"}),
        (
            'src=d,dst=/w,volume-driver=nfs,"volume-opt=o=addr=1.2.3.4,rw",volume-opt=type=nfs',
            _volume("d", "/w", volume_driver="nfs",
                    volume_options={"o": "addr=1.2.3.4,rw", "type": "nfs"}),
        ),
        (
            "type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=0700",
            {"type": "tmpfs", "target": "/t", "tmpfs_size_bytes": 64 << 20, "tmpfs_mode": 0o700},
        ),
    ],
)  # fmt: skip
def test_mounts(words, wanted):
    assert parse_mount(words, "/here") == wanted
    msgspec.convert(wanted, MountRequest)


@pytest.mark.parametrize(
    "words",
    ["", "type=bind,dst=/w", "src=a", "type=nfs,dst=/w", "frob=1,dst=/w", "dst=w", "src,dst=/w",
     "type=tmpfs,src=a,dst=/w", "dst=/w,ro=maybe", "dst=/w,tmpfs-mode=9", "dst=/w,tmpfs-size=x",
     "dst=/w,bind-propagation=x", '"dst=/w'],
)  # fmt: skip
def test_bad_mounts(words):
    with pytest.raises(UsageError, match=r"^--mount"):
        parse_mount(words, "/here")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("/t", {}),
        ("/t:size=1m,mode=755,noexec", {"tmpfs_size_bytes": 1 << 20, "tmpfs_mode": 0o755}),
        ("/t:ro", {"read_only": True}),
    ],
)
def test_tmpfs(words, wanted):
    assert parse_tmpfs(words) == {"type": "tmpfs", "target": "/t", **wanted}


@pytest.mark.parametrize("words", ["t", "/", "/t:exec", "/t:size=x", "/t:mode=8"])
def test_bad_tmpfs(words):
    with pytest.raises(UsageError, match=r"--(tmpfs|mount)"):
        parse_tmpfs(words)


@given(st.text(alphabet='abc:/.,="~ro', max_size=20))
def test_any_text_is_a_mount_the_agent_can_read_or_a_usage_error(words):
    for parse in (lambda w: parse_volume(w, "/here"), lambda w: parse_mount(w, "/"), parse_tmpfs):
        with suppress(UsageError):
            msgspec.convert(parse(words), MountRequest)

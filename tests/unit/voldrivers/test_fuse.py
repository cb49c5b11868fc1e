"""FUSE: which programs are started, and how. That they mount: tests/kernel/voldrivers."""

from pathlib import Path

import pytest

from voldrivers.contract import VolumeSpec
from voldrivers.errors import Invalid
from voldrivers.fuse import Fuse, build_argv


def volume(**options):
    return VolumeSpec(name="data", driver="fuse", options=options)


def test_the_command_line():
    argv = build_argv(volume(helper="sshfs", source="me@host:/d", o="ro,port=22"), Path("/t"))
    assert argv[:3] == ["sshfs", "me@host:/d", "/t"]
    assert argv[3] == "-o"
    assert argv[4].split(",")[-2:] == ["ro", "port=22"]
    assert "BatchMode=yes" in argv[4]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"source": "x"}, "helper"),
        ({"helper": "sshfs"}, "source"),
        ({"helper": "sh", "source": "x"}, "helper"),
        ({"helper": "sshfs", "source": "-oProxyCommand=id"}, "source"),
        ({"helper": "sshfs", "source": "h:", "o": "ssh_command=id"}, "ssh_command"),
        ({"helper": "sshfs", "source": "h:", "o": "ProxyCommand=id"}, "ProxyCommand"),
        ({"helper": "rclone", "source": "h:", "o": "port=1"}, "port"),
        ({"helper": "sshfs", "source": "h:", "colour": "x"}, "colour"),
    ],
)
def test_nothing_of_the_hosts_is_run(tmp_path, options, names):
    with pytest.raises(Invalid, match=names):
        Fuse(tmp_path).check(volume(**options))

"""NFS: what the kernel is asked to mount. That it does is tested where the kernel has NFS.

Covers voldrivers/resolve.py
"""

import pytest

from voldrivers.contract import VolumeSpec
from voldrivers.errors import Invalid, Unavailable
from voldrivers.nfs import Nfs, build_mount
from voldrivers.resolve import with_address


def volume(**options):
    return VolumeSpec(name="data", driver="nfs", options=options)


def test_a_dead_server_is_an_error_and_not_a_hang_unless_asked_for():
    device, options = build_mount(volume(server="files", path="/data", o="ro"))
    assert device == "files:/data"
    assert options == "vers=4.2,addr=files,soft,timeo=100,retrans=3,ro"
    _, options = build_mount(volume(server="::1", path="/d", vers="3", o="hard"))
    assert options == "vers=3,addr=::1,hard"


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"path": "/d"}, "server"),
        ({"server": "s"}, "path"),
        ({"server": "s", "path": "d"}, "path"),
        ({"server": "s,soft", "path": "/d"}, "server"),
        ({"server": "s", "path": "/d", "vers": "2"}, "vers"),
        ({"server": "s", "path": "/d", "o": "suid"}, "suid"),
        ({"server": "s", "path": "/d", "o": "addr=1.2.3.4"}, "addr"),
        ({"server": "s", "path": "/d", "colour": "x"}, "colour"),
    ],
)
def test_refused(tmp_path, options, names):
    with pytest.raises(Invalid, match=names):
        Nfs(tmp_path).check(volume(**options))


def test_volumes_of_one_server_hang_together(tmp_path):
    driver = Nfs(tmp_path)
    one, two = volume(server="s", path="/a"), volume(server="s", path="/b")
    assert driver.domain(one) == driver.domain(two) != driver.domain(volume(server="t", path="/a"))


async def test_names_become_addresses_for_network_file_systems_only():
    assert await with_address("nfs", "vers=4,addr=localhost") in {
        "vers=4,addr=127.0.0.1",
        "vers=4,addr=::1",
    }
    assert await with_address("ext4", "addr=localhost") == "addr=localhost"
    with pytest.raises(Unavailable, match="no-such-host"):
        await with_address("nfs4", "addr=no-such-host.invalid")

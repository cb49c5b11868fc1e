"""What can be told without a mount: ids and mountinfo."""

import pytest

from runtime import errors
from runtime.mounting import _unescape
from runtime.rootfs import OverlayRoots


def test_mountinfo_escapes():
    assert _unescape(rb"/a\040b\011c\012d\134e,f:g") == b"/a b\tc\nd\\e,f:g"


async def test_ids_are_no_paths(tmp_path):
    for name in ("", "..", "a/b"):
        with pytest.raises(errors.Invalid):
            await OverlayRoots(tmp_path).unmount(name)


async def test_nothing_there_is_nothing_listed(tmp_path):
    assert await OverlayRoots(tmp_path).ls() == []

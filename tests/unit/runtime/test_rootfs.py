"""What can be told without a mount: ids and an empty root."""

import pytest

from runtime import errors
from runtime.rootfs import OverlayRoots


async def test_ids_are_no_paths(tmp_path):
    for name in ("", "..", "a/b"):
        with pytest.raises(errors.Invalid):
            await OverlayRoots(tmp_path).unmount(name)


async def test_nothing_there_is_nothing_listed(tmp_path):
    assert await OverlayRoots(tmp_path).ls() == []

"""Volumes in memory: shared between containers, gone when the last one that uses it is down."""

from pathlib import Path
from typing import ClassVar, Final

from voldrivers.contract import VolumeSpec
from voldrivers.mounted import Mounted, check_options
from voldrivers.mounting import mount
from voldrivers.options import check_mode, parse_size

OPTIONS: Final = {
    "size": "most bytes, as 64m (default: half of the memory)",
    "mode": "permissions of the top directory (default 0755)",
    "inodes": "most files",
}


class Tmpfs(Mounted):
    """``voldrivers.contract.VolumeDriver``: a tmpfs per volume in use."""

    name: ClassVar[str] = "tmpfs"
    is_remote: ClassVar[bool] = False

    def check(self, volume: VolumeSpec) -> None:
        """Refuse bad names and options (Invalid)."""
        self.folders.path(volume.name)
        check_options(volume, OPTIONS)
        build_options(volume)

    async def attach(self, volume: VolumeSpec, target: Path) -> None:
        """Mount an empty one."""
        await mount("tmpfs", "tmpfs", target, build_options(volume))


def build_options(volume: VolumeSpec) -> str:
    """What mount(8) gets (Invalid)."""
    options = volume.options
    words = ["nosuid", "nodev", f"mode={check_mode(options.get('mode', '0755'))}"]
    if "size" in options:
        words.append(f"size={parse_size(options['size'])}")
    if "inodes" in options:
        words.append(f"nr_inodes={parse_size(options['inodes'], option='inodes')}")
    return ",".join(words)

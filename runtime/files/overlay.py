"""How overlayfs keeps in an upper directory what is gone from the lower ones.

Source: Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
"""

import os
import stat

from runtime.image.tree import OPAQUE_XATTR


def is_whiteout(found: os.stat_result) -> bool:
    """Whether the entry hides what lower directories have under its name."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(0, 0)


def is_opaque(folder: int | str) -> bool:
    """Whether a folder of upper hides all that lower directories have in theirs."""
    try:
        return os.getxattr(folder, OPAQUE_XATTR) == b"y"
    except OSError:
        return False  # no such attribute, or none at all on this filesystem

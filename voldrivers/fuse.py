"""Shares that a program mounts by FUSE: sshfs and others of a list, with options from a list.

The program outlives the agent. One that died is found by its mount, which answers ENOTCONN, and
is started again; the agent then exchanges the mounts in the containers that run.
"""

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal

import trio

from voldrivers import child
from voldrivers.contract import Ability, VolumeSpec
from voldrivers.errors import Invalid, Refused, Unavailable
from voldrivers.mounted import Mounted, check_options
from voldrivers.mounting import find_mount, measure, unmount
from voldrivers.options import check_allowed, check_device, split_mount_options

OPTIONS: Final = {
    "helper": "which program mounts: sshfs, rclone or bindfs",
    "source": "what, as the program writes it: user@host:/path, remote:path, /path",
    "o": "further options of the program",
}
ASK_S: Final = 2.0  # for a program to say that it lives; a guess
DEAD: Final = (errno.ENOTCONN, errno.ECONNABORTED)  # the second while it is dying
_COMMON: Final = {
    "ro", "rw", "noatime", "nosuid", "nodev", "noexec", "uid", "gid", "umask", "max_read",
}  # fmt: skip
_SSHFS: Final = {
    "reconnect", "port", "directport", "compression", "IdentityFile", "UserKnownHostsFile",
    "StrictHostKeyChecking", "ServerAliveInterval", "ServerAliveCountMax", "ConnectTimeout",
    "idmap", "follow_symlinks", "cache", "dir_cache", "kernel_cache",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Helper:
    """How a program is called; it must go to the background once it has mounted."""

    argv: tuple[str, ...]  # {source}, {target}; -o and the options follow
    allowed: frozenset[str]
    always: tuple[str, ...]


# other users than root are let in, and the kernel checks permissions: a container may be anybody
_ALL: Final = ("allow_other", "default_permissions")
HELPERS: Final[Mapping[str, Helper]] = {
    "sshfs": Helper(
        argv=("sshfs", "{source}", "{target}"),
        allowed=frozenset(_COMMON | _SSHFS),
        # a dead server is an error after 45 s, not a hang
        always=(*_ALL, "ServerAliveInterval=15", "BatchMode=yes"),
    ),
    "rclone": Helper(
        argv=("rclone", "mount", "{source}", "{target}", "--daemon", "--vfs-cache-mode=writes"),
        allowed=frozenset(_COMMON),
        always=_ALL,
    ),
    "bindfs": Helper(
        argv=("bindfs", "{source}", "{target}"), allowed=frozenset(_COMMON), always=_ALL
    ),
}


class Fuse(Mounted):
    """``voldrivers.contract.VolumeDriver``: a program of the list per volume in use."""

    name: ClassVar[str] = "fuse"
    scope: Literal["local", "global"] = "global"

    def check(self, volume: VolumeSpec) -> None:
        """Refuse bad names, helpers and options (Invalid)."""
        self.folders.path(volume.name)
        check_options(volume, OPTIONS)
        build_argv(volume, Path("/"))

    def abilities(self, volume: VolumeSpec) -> frozenset[Ability]:
        """Programs die, and can be started again."""
        return frozenset({"heal"})

    async def mount(self, volume: VolumeSpec, user: str) -> Path:
        """As other file systems; what is left of a program that died goes first."""
        await self._clear(volume)
        return await super().mount(volume, user)

    async def heal(self, volume: VolumeSpec) -> bool:
        """Start a program that died again."""
        if not await self._clear(volume):
            return False
        await self.attach(volume, self.place(volume))
        return True

    async def _clear(self, volume: VolumeSpec) -> bool:
        """Unmount what is left of a program that died; whether it had."""
        target = self.place(volume)
        if await find_mount(target) is None or not await self._is_dead(volume, target):
            return False
        await unmount(target, force=True)
        return True

    async def _is_dead(self, volume: VolumeSpec, target: Path) -> bool:
        """Whether the program behind a mount ended: the kernel says so without asking anybody.

        Raises:
            Unavailable: it is there and does not answer.
        """
        try:
            with trio.fail_after(ASK_S):
                await measure(target, self.looking(volume))
        except trio.TooSlowError:
            raise Unavailable("the helper does not answer", name=volume.name) from None
        except OSError as exc:
            return exc.errno in DEAD
        return False

    async def attach(self, volume: VolumeSpec, target: Path) -> None:
        """Start the program.

        Raises:
            Refused: it ended without a mount, with what it said.
        """
        done = await child.run(*build_argv(volume, target))
        if done.code:
            raise Refused(
                "could not mount the volume", name=volume.name,
                helper=volume.options["helper"], says=done.says,
            )  # fmt: skip
        if await find_mount(target) is None:
            raise Unavailable(
                "the helper mounted nothing", name=volume.name, helper=volume.options["helper"]
            )


def build_argv(volume: VolumeSpec, target: Path) -> list[str]:
    """The program's command line.

    Raises:
        Invalid: an option that is missing or not on the list.
    """
    options = volume.options
    for option in ("helper", "source"):
        if not options.get(option):
            raise Invalid(f"a fuse volume needs {option!r}", field="options", value=option)
    helper = HELPERS.get(options["helper"])
    if helper is None:
        raise Invalid(
            f"not one of {', '.join(HELPERS)}", field="options.helper", value=options["helper"]
        )
    source = check_device(options["source"])
    if source.startswith("-"):
        raise Invalid("a source does not begin with -", field="options.source", value=source)
    words = split_mount_options(options.get("o", ""))
    check_allowed(words, helper.allowed)
    argv = [each.format(source=source, target=target) for each in helper.argv]
    return [*argv, "-o", ",".join([*helper.always, *words])]

"""Volumes on NFS servers, versions 3 and 4, mounted by the kernel with options from a list.

Source: nfs(5). ``soft`` is the default here: a dead server is an error in the program, not a
process that cannot be killed.
"""

from pathlib import Path
from typing import ClassVar, Final, Literal

from voldrivers.contract import VolumeSpec
from voldrivers.errors import Invalid
from voldrivers.mounted import Mounted, check_options
from voldrivers.mounting import mount
from voldrivers.options import check_allowed, check_device, split_mount_options
from voldrivers.resolve import with_address

ALLOWED: Final = frozenset({
    "ro", "rw", "soft", "hard", "softerr", "timeo", "retrans", "rsize", "wsize", "proto",
    "port", "nconnect", "acl", "noacl", "nolock", "lock", "ac", "noac", "acregmin", "acregmax",
    "acdirmin", "acdirmax", "actimeo", "sync", "noatime", "nodiratime", "relatime",
    "mountport", "mountproto", "mountvers", "sec", "nosharecache", "lookupcache", "local_lock",
    "noresvport",
})  # fmt: skip
VERSIONS: Final = ("3", "4", "4.0", "4.1", "4.2")
DEFAULTS: Final = ("soft", "timeo=100", "retrans=3")
OPTIONS: Final = {
    "server": "name or address",
    "path": "what it exports, as /data",
    "vers": f"version of the protocol: {', '.join(VERSIONS)} (default 4.2)",
    "o": "further mount options",
}


class Nfs(Mounted):
    """``voldrivers.contract.VolumeDriver``: an export, mounted while somebody uses it."""

    name: ClassVar[str] = "nfs"
    scope: Literal["local", "global"] = "global"

    def check(self, volume: VolumeSpec) -> None:
        """Refuse bad names and options (Invalid)."""
        self.folders.path(volume.name)
        check_options(volume, OPTIONS)
        build_mount(volume)

    def domain(self, volume: VolumeSpec) -> str:
        """A dead server takes all its volumes with it."""
        return f"server {volume.options.get('server', '')}"

    async def attach(self, volume: VolumeSpec, target: Path) -> None:
        """Mount the export."""
        device, options = build_mount(volume)
        await mount("nfs", device, target, await with_address("nfs", options))


def build_mount(volume: VolumeSpec) -> tuple[str, str]:
    """(device, options) for mount(8); ``addr=`` still with the server's name.

    Raises:
        Invalid: an option that is missing, wrong or not on the list.
    """
    options = volume.options
    for option in ("server", "path"):
        if not options.get(option):
            raise Invalid(f"an nfs volume needs {option!r}", field="options", value=option)
    server, path = check_device(options["server"]), check_device(options["path"])
    if not path.startswith("/") or set(server) & set(", /"):
        field = "path" if not path.startswith("/") else "server"
        raise Invalid("not a server or an export", field=f"options.{field}", value=options[field])
    version = options.get("vers", "4.2")
    if version not in VERSIONS:
        raise Invalid(f"not one of {', '.join(VERSIONS)}", field="options.vers", value=version)
    words = split_mount_options(options.get("o", ""))
    check_allowed(words, ALLOWED)
    mine = [] if "hard" in words else list(DEFAULTS)
    host = f"[{server}]" if ":" in server else server
    return f"{host}:{path}", ",".join([f"vers={version}", f"addr={server}", *mine, *words])

"""Mounting file systems on volumes, by mount(8), in time and never twice.

mount(8) and not mount(2): a child that waits for a server can be killed, a thread cannot.
Source: mount(8), umount(8) of util-linux 2.38.
"""

import os
from pathlib import Path
from typing import Final

import trio

from voldrivers import child
from voldrivers.errors import Busy, Refused, Unavailable
from voldrivers.mountinfo import Mount, parse_mountinfo

CALM_S: Final = 4.0  # for an orderly unmount, before it is forced; a guess


async def find_mount(target: Path) -> Mount | None:
    """What is mounted just there, the topmost; the file system itself is not asked."""
    text = await trio.Path("/proc/self/mountinfo").read_bytes()
    found = [each for each in parse_mountinfo(text) if each.target == target]
    return found[-1] if found else None


async def mount(kind: str, source: str, target: Path, options: str) -> None:
    """Mount ``source`` on ``target`` by the kernel alone, without helpers and fstab.

    Args:
        kind: type of file system. options: as after ``-o``, may be "".

    Raises:
        Refused: what mount(8) said.
    """
    flags = ["-o", options] if options else []
    where = ["--source", source, "--target", str(target)]
    done = await child.run("mount", "-i", "-n", "-t", kind, *flags, *where)
    if done.code:
        raise Refused(
            "could not mount the volume", type=kind, device=source, options=options, says=done.says
        )


async def unmount(target: Path, *, force: bool) -> None:
    """Unmount; nothing to do if nothing is mounted there.

    Args:
        force: if it does not go in order, abort what hangs and detach it. Only for file systems
            that somebody else keeps: one of a block device might then be mounted twice.

    Raises:
        Busy: somebody works in it. Unavailable: it does not answer.
    """
    if await find_mount(target) is None:
        return
    says = "no answer"
    with trio.move_on_after(CALM_S):
        done = await child.run("umount", "-n", "-c", str(target))
        if not done.code:
            return
        says = done.says
    if force:
        with trio.move_on_after(CALM_S):
            await child.run("umount", "-n", "-c", "-f", "-l", str(target))
    if await find_mount(target) is None:
        return
    leaf = Busy if "busy" in says else Unavailable
    raise leaf("could not unmount the volume", at=target, says=says)


async def measure(target: Path, limiter: trio.CapacityLimiter) -> os.statvfs_result:
    """Ask the file system how full it is (OSError). Cancel: the thread is left to its fate.

    Args:
        limiter: of this volume alone: a thread that waits for a dead server keeps its place.
    """
    return await trio.to_thread.run_sync(
        os.statvfs, target, limiter=limiter, abandon_on_cancel=True
    )

"""``nodeagent plugin serve``: a volume driver of ours for dockerd, as a process of its own."""

import argparse
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import trio

from voldrivers.errors import VolDriverError
from voldrivers.guard import Guarded
from voldrivers.plugin.served import Served
from voldrivers.plugin.server import serve
from voldrivers.registry import DRIVERS


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Flags of ``nodeagent plugin serve``."""
    parser = argparse.ArgumentParser(
        prog="nodeagent plugin serve",
        description="Serve a volume driver as a Docker volume plugin, until SIGTERM.",
        epilog="Example: nodeagent plugin serve --driver image --root /var/lib/image-volumes"
        " --socket /run/docker/plugins/image.sock;"
        " then docker volume create -d image -o size=1g db",
    )
    parser.add_argument("--driver", choices=sorted(DRIVERS), required=True)
    parser.add_argument("--root", type=Path, required=True, help="where the volumes are")
    parser.add_argument("--socket", type=Path, required=True, help="where dockerd looks")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT; mounts stay. The exit code."""
    args = parse_args(argv)
    root, socket = args.root.absolute(), args.socket.absolute()
    failed = False
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        trio.run(_serve, args.driver, root, socket)
    except* (OSError, VolDriverError, msgspec.DecodeError) as group:
        failed = True
        for exc in group.exceptions:
            sys.stderr.write(f"nodeagent plugin: {exc}\n")
    return int(failed)


async def _serve(driver: str, root: Path, socket: Path) -> None:
    guarded = Guarded(DRIVERS[driver](root))
    served = Served(guarded, root / "plugin.json", _now)
    served.load()
    await guarded.clean()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on, signals, nursery.cancel_scope)
            await serve(socket, served.answer)


async def _stop_on(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

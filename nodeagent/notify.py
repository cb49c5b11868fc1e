"""Tell systemd how the agent is: ready, alive, stopping. Nothing happens without systemd.

Source: sd_notify(3).
"""

import os
import socket
from collections.abc import Mapping

import trio


class Notifier:
    """The datagram socket systemd gave us, or none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        usec = environ.get("WATCHDOG_USEC", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog_s = int(usec) / 1e6 if usec.isdecimal() and mine else 0.0

    def tell(self, *lines: str) -> None:
        """Send state lines like ``READY=1``."""
        if not self._address:
            return
        address = self._address.replace("@", "\0", 1)  # an abstract socket begins with @
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.sendto("\n".join(lines).encode(), address)

    async def feed_watchdog(self) -> None:
        """Say "alive" twice in each period; a blocked loop does not, and systemd restarts it."""
        while self._watchdog_s:
            self.tell("WATCHDOG=1")
            await trio.sleep(self._watchdog_s / 2)

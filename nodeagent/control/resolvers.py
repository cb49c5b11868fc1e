"""The host's own name servers, followed while they change."""

import trio

from nodeagent.control.etcdir import read_resolv_conf
from nodeagent.control.etcfiles import parse_nameservers
from nodeagent.control.parts import Settings

# resolv.conf is often a link to a file that is replaced by renaming, so there is no one inode to
# be told of; to read it costs 20 us
LOOK_S = 5.0


class Resolvers:
    """Where questions go that containers may ask through the host."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.upstreams = self._read()

    async def wait_change(self) -> None:
        """Return once they are others than before.

        A file that names none is being written, or the host is offline: the former ones stay, with
        what was heard from them.
        """
        while True:
            await trio.sleep(LOOK_S)
            found = self._read()
            if found and found != self.upstreams:
                self.upstreams = found
                return

    def _read(self) -> tuple[str, ...]:
        """As configured, else the host's."""
        return self._settings.dns_upstreams or parse_nameservers(read_resolv_conf(self._settings))

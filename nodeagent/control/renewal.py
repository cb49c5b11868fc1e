"""A node's certificate is renewed before it ends, for the key it has, without a restart.

The key stays: so there is one file to replace, and no instant with a key and another's certificate.
Who connects from then on meets the new one; etcd reads the file for each handshake, too.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio

from nodeagent.cluster import ca
from nodeagent.cluster.ca import Role
from nodeagent.cluster.place import ClusterPlace
from nodeagent.errors import Refused, kind_of

log = logging.getLogger(__name__)

LOOK_S: Final = 3600.0
AGAIN_S: Final = 60.0  # after a failure; a third of the certificate's life is left for success


class Renewal:
    """Looks after one certificate.

    Args:
        sign: asks a manager: a request (PEM) for a certificate (PEM).
    """

    def __init__(
        self,
        place: ClusterPlace,
        sign: Callable[[bytes], Awaitable[bytes]],
        now: Callable[[], float],
    ) -> None:
        self._place = place
        self._sign = sign
        self._now = now

    async def run(self) -> NoReturn:
        """For ever; a failure is told and tried again."""
        while True:  # noqa: ASYNC110  a date is what this waits for
            await trio.sleep(LOOK_S if await self._try() else AGAIN_S)

    async def _try(self) -> bool:
        if not ca.is_due(self._place.certificate(), now=self._now()):
            return True
        try:
            await self.renew()
        except Exception as exc:
            if not kind_of(exc):
                raise
            until = ca.read_identity(self._place.certificate()).not_after.isoformat()
            extra = {"error": str(exc), "good_until": until}
            log.warning("the node's certificate is not renewed yet", extra=extra)
            return False
        return True

    async def renew(self) -> Role:
        """Get a new certificate now; the role that it is for.

        Raises:
            Refused: the answer is no certificate of the cluster for this node and its key.
        """
        had = ca.read_identity(self._place.certificate())
        signed = await self._sign(ca.build_request(had.name, self._place.key()))
        ca.check_signed(self._place.authority(), signed)
        found = ca.read_identity(signed)
        if (_node(found), found.cluster) != (_node(had), had.cluster):
            raise Refused("the renewed certificate is somebody else's", who=found.name)
        try:
            await trio.to_thread.run_sync(self._place.write_certificate, signed)
        except ssl.SSLError as exc:
            raise Refused("the renewed certificate is not for this node's key") from exc
        until = found.not_after.isoformat()
        log.info("the node's certificate is renewed", extra={"good_until": until})
        return found.role


def _node(identity: ca.Identity) -> str:
    """The id in a node's certificate, whatever the node's role is then."""
    return identity.name.removeprefix(f"{identity.role}-")

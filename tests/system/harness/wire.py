"""A wire: a switch in a namespace of its own, and hosts whose links are plugged into it."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from tests.system.harness.namespace import Namespace, open_namespace, run


class Wire:
    """192.0.2.0/24 and 2001:db8::/64 by custom; ``plug`` gives a namespace a link to it."""

    def __init__(self, switch: Namespace) -> None:
        self.switch = switch
        switch.run("ip", "link", "add", "sw", "type", "bridge", "mcast_snooping", "0")
        switch.run("ip", "link", "set", "sw", "up")

    def plug(self, space: Namespace, link: str, *addresses: str) -> None:
        """Give the namespace a link of this name, up, with these addresses."""
        port = f"p{secrets.token_hex(4)}"
        pair = ("type", "veth", "peer", "name", link, "netns", space.name)
        run(["ip", "link", "add", port, "netns", self.switch.name, *pair])
        self.switch.run("ip", "link", "set", port, "master", "sw", "up")
        for address in addresses:
            nodad = ("nodad",) if ":" in address else ()
            space.run("ip", "address", "add", address, "dev", link, *nodad)
        # without a link-local address, which would come a while later
        space.run("ip", "link", "set", link, "addrgenmode", "none", "up")


@contextmanager
def open_wire() -> Iterator[Wire]:
    """A wire with nobody on it."""
    with open_namespace() as switch:
        yield Wire(switch)

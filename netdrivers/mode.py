"""Networks that are a container's mode: the host's own, and none. Nothing is made for either."""

from collections.abc import Iterable
from typing import ClassVar

from netdrivers.contract.specs import EndpointSpec, NetworkSpec
from netdrivers.errors import Invalid
from netdrivers.plan.objects import KernelObject


class HostDriver:
    """The container runs without a namespace of its own."""

    name: ClassVar[str] = "host"
    on_wire: ClassVar[bool] = False

    def check(self, net: NetworkSpec) -> None:
        """Refuse subnets and options: there is nothing that could bear them."""
        for option in sorted(net.options):
            raise Invalid(f"the {self.name} driver takes no options", option=option)
        if net.subnets:
            raise Invalid(f"the {self.name} driver takes no subnet", subnet=net.subnets[0].subnet)

    def network(self, net: NetworkSpec) -> Iterable[KernelObject]:
        """Nothing."""
        del net
        return ()

    def endpoint(self, net: NetworkSpec, ep: EndpointSpec) -> Iterable[KernelObject]:
        """Nothing, and so no port can be published."""
        del net
        if ep.ports:
            raise Invalid(f"the {self.name} driver publishes no ports", endpoint=ep.id)
        return ()


class NullDriver(HostDriver):
    """The sandbox's loopback is all there is."""

    name: ClassVar[str] = "null"

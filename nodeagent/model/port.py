"""Published ports as they are shown."""

from msgspec import Struct, field


class PortRow(Struct, frozen=True, kw_only=True, rename="pascal"):
    """One published port of one container on one address of the host, or on its own."""

    container: str
    container_id: str = field(name="ContainerID")
    protocol: str
    host_ip: str = field(name="HostIP")
    host_port: int
    container_port: int
    reach: str  # who can reach it, in words
    held: bool  # whether a socket of the agent keeps others from it

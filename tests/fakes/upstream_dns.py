"""A small upstream name server: scripted answers over UDP and TCP; remembers what it was asked."""

import socket
from dataclasses import dataclass, field

import trio
from dnslib import QTYPE, RCODE, RR, SOA, A, DNSHeader, DNSRecord


def reply_to(packet: bytes, *, rcode: str = "NOERROR", addresses: tuple[str, ...] = ()) -> bytes:
    """A plain reply with these addresses; NXDOMAIN brings an SOA."""
    asked = DNSRecord.parse(packet)
    header = DNSHeader(id=asked.header.id, qr=1, ra=1, rcode=getattr(RCODE, rcode))
    reply = DNSRecord(header, q=asked.q)
    for each in addresses:
        reply.add_answer(RR(asked.q.qname, QTYPE.A, rdata=A(each), ttl=60))
    if rcode == "NXDOMAIN":
        reply.add_auth(RR("example.", QTYPE.SOA, rdata=SOA("ns.example.", "root.example.")))
    return bytes(reply.pack())


def truncated(packet: bytes) -> bytes:
    """An empty reply with TC."""
    asked = DNSRecord.parse(packet)
    return bytes(DNSRecord(DNSHeader(id=asked.header.id, qr=1, tc=1), q=asked.q).pack())


@dataclass
class Upstream:
    """``udp`` and ``tcp`` turn a query into replies (several, none)."""

    address: str
    port: int = 0
    udp: object = None
    tcp: object = None
    asked: list[tuple[str, bytes, int]] = field(default_factory=list)  # protocol, query, peer port

    async def run(self, task_status=trio.TASK_STATUS_IGNORED) -> None:
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            await sock.bind((self.address, self.port))
            self.port = sock.getsockname()[1]
            listeners = await trio.open_tcp_listeners(self.port, host=self.address)
            async with trio.open_nursery() as nursery:
                await nursery.start(trio.serve_listeners, self._stream, listeners)
                task_status.started(self)
                while True:
                    packet, peer = await sock.recvfrom(4096)
                    self.asked.append(("udp", packet, peer[1]))
                    for reply in self.udp(packet) if self.udp else ():
                        await sock.sendto(reply, peer)

    async def _stream(self, stream: trio.SocketStream) -> None:
        async with stream:
            head = await stream.receive_some(2)
            packet = await stream.receive_some(int.from_bytes(head))
            self.asked.append(("tcp", bytes(packet), 0))
            for reply in self.tcp(bytes(packet)) if self.tcp else ():
                await stream.send_all(len(reply).to_bytes(2) + reply)

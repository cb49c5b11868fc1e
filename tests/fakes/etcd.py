"""Real etcd members on loopback, with certificates of a cluster's authority."""

import socket
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import trio

from nodeagent.cluster import ca
from nodeagent.cluster.etcd.client import EtcdClient, open_client
from nodeagent.cluster.member import Member, MemberSpec, build_url

HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Ports that nobody has at this moment."""
    with ExitStack() as stack:
        return [
            stack.enter_context(socket.create_server((HOST, 0))).getsockname()[1]
            for _ in range(count)
        ]


class Members:
    """A cluster of members below one folder."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.authority = ca.create_ca("0123456789abcdef", now=time.time())
        ports = free_ports(2 * count)
        names = [f"m{n}" for n in range(count)]
        peers = {name: build_url(HOST, ports[2 * n]) for n, name in enumerate(names)}
        self.specs = [
            MemberSpec(
                name=name, folder=folder / name, host=HOST, client_port=ports[2 * n + 1],
                peer_port=ports[2 * n], members=peers, state="new",
            )
            for n, name in enumerate(names)
        ]  # fmt: skip
        self.members = [Member(spec) for spec in self.specs]
        for spec in self.specs:
            self.write_certificates(spec)

    def write_certificates(self, spec: MemberSpec) -> None:
        spec.folder.mkdir(parents=True, exist_ok=True)
        pair = ca.issue(
            self.authority,
            ca.Bearer(name=spec.name, role="manager", hosts=(HOST,)),
            now=time.time(),
        )
        peer = ca.issue_peer(self.authority, HOST, now=time.time())
        (spec.folder / "peer.pem").write_bytes(peer.certificate + peer.key)
        (spec.folder / "node.crt").write_bytes(pair.certificate)
        (spec.folder / "node.key").write_bytes(pair.key)
        (spec.folder / "store-ca.crt").write_bytes(self.authority.certificate)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [(spec.host, spec.client_port) for spec in self.specs]

    def context(self, name: str = "root", role: ca.Role = "manager") -> ssl.SSLContext:
        """A client's context with a certificate of that name."""
        pair = ca.issue(self.authority, ca.Bearer(name=name, role=role), now=time.time())
        return client_context(self.folder, self.authority.certificate, pair)


def client_context(folder: Path, authority: bytes, pair: ca.Pair) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.decode())
    files = folder / f"client{time.monotonic_ns()}.pem"
    files.write_bytes(pair.certificate + pair.key)
    context.load_cert_chain(files)
    context.set_alpn_protocols(["h2"])
    return context


@asynccontextmanager
async def running_members(folder: Path, count: int = 1) -> AsyncIterator[Members]:
    """Members that answer; killed at the end."""
    cluster = Members(folder, count)
    try:
        for member in cluster.members:
            await member.start()
        yield cluster
    finally:
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for member in cluster.members:
                    nursery.start_soon(member.stop)


@asynccontextmanager
async def client_of(
    cluster: Members, addresses: Sequence[tuple[str, int]] = ()
) -> AsyncIterator[EtcdClient]:
    """A client with the rights of root, once a leader is there."""
    context = cluster.context()
    async with open_client(addresses or cluster.addresses, lambda: context) as client:
        await client.call("Range", key=b"\0", timeout_s=30)
        yield client

"""A client of the name server inside a namespace, and tables for the server to answer from."""

import socket
from ipaddress import ip_address

import trio
from dnslib import EDNS0, DNSRecord

from netdrivers.contract.names import DnsHost, DnsTable, DnsView, DnsZone
from netdrivers.dns import namespace

SERVER = "127.0.0.11"
WEB = (ip_address("10.7.0.1"), ip_address("10.7.0.2"), ip_address("fd00::7"))


def table(*upstreams, inside=False, web=WEB, ready=True):
    host = DnsHost(name="web", addresses=web, is_ready=ready, services={"_http._tcp": 80})
    zone = DnsZone(name="demo", names={"web": (host,)}, reverse=dict.fromkeys(web, "web"))
    view = DnsView(zones=("n",), upstreams=upstreams, upstreams_in_sandbox=inside)
    return DnsTable(zones={"n": zone}, views={"s": view})


def question(name, qtype="A", edns=None):
    record = DNSRecord.question(name, qtype)
    if edns:
        record.add_ar(EDNS0(udp_len=edns))
    return record.pack()


def sock(netns, kind=socket.SOCK_DGRAM):
    return trio.socket.from_stdlib_socket(namespace.make_socket(netns, socket.AF_INET, kind))


async def ask_raw(netns, port, raw):
    with sock(netns) as client, trio.fail_after(5):
        await client.connect((SERVER, port))
        await client.send(raw)
        return await client.recv(65535)


async def ask(netns, port, name, qtype="A", edns=None):
    return DNSRecord.parse(await ask_raw(netns, port, question(name, qtype, edns)))


async def connect(netns, port):
    client = sock(netns, socket.SOCK_STREAM)
    await client.connect((SERVER, port))
    return trio.SocketStream(client)


async def read_frames(stream, count):
    buffer, found = b"", []
    with trio.fail_after(5):
        while len(found) < count:
            buffer += await stream.receive_some()
            while len(buffer) > 2 and len(buffer) >= 2 + int.from_bytes(buffer[:2]):
                end = 2 + int.from_bytes(buffer[:2])
                found.append(DNSRecord.parse(buffer[2:end]))
                buffer = buffer[end:]
    return found


def frame(raw):
    return len(raw).to_bytes(2) + raw


def data(reply):
    return [str(each.rdata) for each in reply.rr]

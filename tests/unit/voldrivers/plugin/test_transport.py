"""Plugins by TCP and TLS: whom we trust, and who we say we are."""

import json
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from voldrivers.contract import VolumeSpec
from voldrivers.errors import Unavailable
from voldrivers.plugin.driver import Plugin

V = VolumeSpec(name="v", driver="p")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"Implements": ["VolumeDriver"], "Volume": {"Name": "v"}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args):
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed one for localhost: authority, server and client at once."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout",
         folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def serve(certificate):
    servers = []

    def serve_(*, tls, client=False):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
            if client:
                context.load_verify_locations(certificate / "cert.pem")
                context.verify_mode = ssl.CERT_REQUIRED
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_args: None  # a client that we refused
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return server.server_address[1]

    yield serve_
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def plugin(tmp_path, port, tls=None):
    text = {"Name": "p", "Addr": f"tcp://localhost:{port}", "TLSConfig": tls}
    (tmp_path / "p.json").write_text(json.dumps(text))
    return Plugin("p", (tmp_path,))


async def test_plain_tcp(tmp_path, serve):
    assert (await plugin(tmp_path, serve(tls=False)).health(V)).state == "healthy"


async def test_only_whom_the_file_says(tmp_path, serve, certificate):
    port = serve(tls=True)
    cert = str(certificate / "cert.pem")
    assert (await plugin(tmp_path, port, {"CAFile": cert}).health(V)).state == "healthy"
    with pytest.raises(Unavailable, match="certificate"):
        await plugin(tmp_path, port, {"CAFile": ""}).health(V)
    careless = plugin(tmp_path, port, {"InsecureSkipVerify": True})
    assert (await careless.health(V)).state == "healthy"


async def test_we_show_our_certificate(tmp_path, serve, certificate):
    port = serve(tls=True, client=True)
    cert, key = str(certificate / "cert.pem"), str(certificate / "key.pem")
    with pytest.raises(Unavailable):
        await plugin(tmp_path, port, {"CAFile": cert}).health(V)
    ours = {"CAFile": cert, "CertFile": cert, "KeyFile": key}
    assert (await plugin(tmp_path, port, ours).health(V)).state == "healthy"
    with pytest.raises(Unavailable):
        await plugin(tmp_path, port, {**ours, "KeyFile": "/none"}).health(V)

"""Debian's docker-registry, for tests of the store."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def debian_registry(folder: Path, http: dict[str, object] | None = None, **more) -> Iterator[int]:
    """Debian's docker-registry on a free loopback port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}", **(http or {})},
        **more,
    }
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    server = subprocess.Popen(
        ["docker-registry", "serve", str(folder / "config.yml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert any("listening on" in line for line in server.stderr)
        # It writes a line per request: somebody must read them.
        with (
            (folder / "log").open("w") as log,
            subprocess.Popen(["cat"], stdin=server.stderr, stdout=log),
        ):
            try:
                yield port
            finally:
                server.terminate()  # else its reader, which is waited for next, never ends
    finally:
        server.kill()
        server.wait()
        server.stderr.close()


def make_secrets(tmp_path: Path) -> None:
    """Make ``crt`` and ``key`` for 127.0.0.1, and ``passwd`` with user:pass."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", tmp_path / "key", "-out", tmp_path / "crt", "-days", "2",
         "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    script = 'print "user:", crypt("pass", q($2b$05$abcdefghijklmnopqrstuu)), "\\n"'
    line = subprocess.run(["perl", "-e", script], check=True, capture_output=True).stdout
    (tmp_path / "passwd").write_bytes(line)

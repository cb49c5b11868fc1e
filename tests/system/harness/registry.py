"""Debian's docker-registry on the loopback of a namespace."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.system.harness import process
from tests.system.harness.images import write_layout
from tests.system.harness.namespace import Namespace

PORT = 5000
USER, PASSWORD = "user", "pass"
CONFIG = """\
version: 0.1
log: {{level: info}}
storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A running registry; ``address`` is what stands before an image's name."""

    space: Namespace
    base: Path
    child: process.Child
    address: str

    def push(self, name: str, layers: Sequence[bytes], **config: object) -> str:
        """Put an image of these layer tars there by skopeo; return its manifest digest."""
        top = Path(tempfile.mkdtemp(dir=self.base))
        tag = name.rpartition(":")[2]
        digest = write_layout(top, layers, tag=tag, **config)
        target = f"docker://{self.address}/{name}"
        self.space.run(
            "skopeo",
            "--insecure-policy",
            "copy",
            "-q",
            "--preserve-digests",
            "--dest-tls-verify=false",
            f"oci:{top}:{tag}",
            target,
        )
        return digest


@contextmanager
def open_registry(
    space: Namespace, *, port: int = PORT, closed: bool = False
) -> Iterator[Registry]:
    """Start a registry in the namespace; it and its data are gone at the end.

    ``closed``: it asks for USER and PASSWORD.
    """
    base = Path(tempfile.mkdtemp(prefix="nt-reg-"))
    config = base / "config.yml"
    text = CONFIG.format(data=base / "data", port=port)
    if closed:
        (base / "passwd").write_text(f"{USER}:{_bcrypt(PASSWORD)}\n", encoding="utf-8")
        text += f"auth: {{htpasswd: {{realm: r, path: {base / 'passwd'}}}}}\n"
    config.write_text(text, encoding="utf-8")
    argv = space.argv("docker-registry", "serve", str(config))
    child = process.start(argv, log=base / "log", env=dict(os.environ))
    address = f"127.0.0.1:{port}"
    try:
        retry = ("--retry", "100", "--retry-connrefused", "--retry-delay", "1", "--retry-max-time")
        login = ("-u", f"{USER}:{PASSWORD}")
        space.run("curl", "-fsS", *login, *retry, "20", f"http://{address}/v2/")
        yield Registry(space=space, base=base, child=child, address=address)
    finally:
        child.end()
        shutil.rmtree(base)


def _bcrypt(password: str) -> str:
    """The only form the registry takes; perl, which every Debian has, asks libcrypt."""
    script = "print crypt($ARGV[0], q($2b$05$abcdefghijklmnopqrstuu))"
    argv = ["perl", "-e", script, password]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

"""Images for tests: a busybox root filesystem, and OCI layouts made of tars."""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
GROUP = b"root:x:0:\nnogroup:x:65534:\n"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


def build_tar(files: Mapping[str, bytes], *, links: Mapping[str, str] = {}) -> bytes:
    """A tar of files (name ending in / is a directory) and symbolic links; the same each time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.mode, info.size = 0o755, len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return out.getvalue()


def build_busybox() -> bytes:
    """The root filesystem of Debian's busybox-static with all its applets, as a tar."""
    names = subprocess.run(
        [BUSYBOX, "--list"], capture_output=True, check=True, text=True
    ).stdout.split()
    folders = ("bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "usr/bin", "var")
    files = {f"{name}/": b"" for name in folders}
    files |= {"etc/passwd": PASSWD, "etc/group": GROUP, "bin/busybox": BUSYBOX.read_bytes()}
    return build_tar(files, links={f"bin/{n}": "busybox" for n in names if n != "busybox"})


def write_layout(top: Path, layers: Sequence[bytes], *, tag: str, **config: object) -> str:
    """Write an OCI layout with one image of these layer tars; return the manifest's digest.

    Args:
        config: the runtime part of the image's config: Cmd, Env, Entrypoint …
    """
    (top / "blobs/sha256").mkdir(parents=True)
    packed = [gzip.compress(layer, compresslevel=1, mtime=0) for layer in layers]
    described = [_blob(top, data, LAYER) for data in packed]
    image = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]},
        "history": [{"created_by": f"layer {n}"} for n, _ in enumerate(layers)],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _blob(top, json.dumps(image).encode(), CONFIG),
        "layers": described,
    }
    entry = _blob(top, json.dumps(manifest).encode(), MANIFEST)
    digest = str(entry["digest"])
    named = entry | {"annotations": {"org.opencontainers.image.ref.name": tag}}
    index = {"schemaVersion": 2, "manifests": [named]}
    (top / "index.json").write_text(json.dumps(index), encoding="utf-8")
    (top / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}', encoding="utf-8")
    return digest


def _blob(top: Path, data: bytes, media_type: str) -> dict[str, object]:
    digest = _digest(data)
    (top / "blobs/sha256" / digest.removeprefix("sha256:")).write_bytes(data)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"

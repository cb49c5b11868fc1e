"""Images built in memory: layer tars, manifests, lists, archives."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

OCI = "application/vnd.oci.image"
COMPRESS = {
    "": lambda data: data,
    "+gzip": lambda data: gzip.compress(data, 1, mtime=0),
    "+zstd": zstandard.compress,
}


def sha(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def entry(name: str, **fields: object) -> tarfile.TarInfo:
    """A tar header with some fields set."""
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def tar_of(*members: tarfile.TarInfo | tuple[str, bytes] | tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tar of headers, (name, content) and (header, content)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            info, data = member if isinstance(member, tuple) else (member, b"")
            info = entry(info) if isinstance(info, str) else info
            info.size = len(data) or info.size
            archive.addfile(info, io.BytesIO(data) if data else None)
    return out.getvalue()


@dataclass(kw_only=True)
class BuiltImage:
    """An image as a registry holds it."""

    config: bytes
    manifest: bytes
    media_type: str
    blobs: dict[str, bytes] = field(default_factory=dict)  # config included
    layers: list[str] = field(default_factory=list)  # digests of blobs
    tars: list[bytes] = field(default_factory=list)

    @property
    def id(self) -> str:
        return sha(self.config)

    @property
    def digest(self) -> str:
        return sha(self.manifest)


def build_image(
    tars: Sequence[bytes],
    *,
    form: str = "+gzip",
    architecture: str = "amd64",
    variant: str = "",
    docker: bool = False,
    created: str = "2026-01-01T00:00:00Z",
    run: Mapping[str, object] | None = None,
) -> BuiltImage:
    """Build an image of layer tars; ``form`` is "", "+gzip" or "+zstd"."""
    config = json.dumps(
        {
            "created": created,
            "architecture": architecture,
            "os": "linux",
            **({"variant": variant} if variant else {}),
            "config": dict(run or {"Cmd": ["sh"], "Env": None, "Labels": None}),
            "rootfs": {"type": "layers", "diff_ids": [sha(one) for one in tars]},
            "history": [{"created": created, "created_by": f"step {n}"} for n in range(len(tars))],
        }
    ).encode()
    blobs = [COMPRESS[form](one) for one in tars]
    names = (
        ("application/vnd.docker.distribution.manifest.v2+json",
         "application/vnd.docker.container.image.v1+json",
         "application/vnd.docker.image.rootfs.diff.tar.gzip")
        if docker
        else (f"{OCI}.manifest.v1+json", f"{OCI}.config.v1+json", f"{OCI}.layer.v1.tar{form}")
    )  # fmt: skip
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": names[0],
            "config": {"mediaType": names[1], "digest": sha(config), "size": len(config)},
            "layers": [
                {"mediaType": names[2], "digest": sha(one), "size": len(one)} for one in blobs
            ],
        }
    ).encode()
    return BuiltImage(
        config=config,
        manifest=manifest,
        media_type=names[0],
        blobs={sha(config): config, **{sha(one): one for one in blobs}},
        layers=[sha(one) for one in blobs],
        tars=list(tars),
    )


def build_list(images: Mapping[str, BuiltImage]) -> bytes:
    """A manifest list; keys are os/arch or os/arch/variant."""
    rows = []
    for platform, image in images.items():
        keys = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
        rows.append(
            {
                "mediaType": image.media_type,
                "digest": image.digest,
                "size": len(image.manifest),
                "platform": keys,
            }
        )
    kind = f"{OCI}.index.v1+json"
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": rows}).encode()


def docker_save(images: Mapping[str, BuiltImage]) -> bytes:
    """What docker save writes for images by tag."""
    members: dict[str, bytes] = {}
    rows = []
    for tag, image in images.items():
        names = [f"{sha(one)[7:]}/layer.tar" for one in image.tars]
        members |= dict(zip(names, image.tars, strict=True))
        members[f"{image.id[7:]}.json"] = image.config
        rows.append({"Config": f"{image.id[7:]}.json", "RepoTags": [tag], "Layers": names})
    return tar_of(*members.items(), ("manifest.json", json.dumps(rows).encode()))


def oci_archive(image: BuiltImage, name: str) -> bytes:
    """An OCI layout in a tar."""
    row = {
        "mediaType": image.media_type,
        "digest": image.digest,
        "size": len(image.manifest),
        "annotations": {"org.opencontainers.image.ref.name": name},
    }
    blobs = {**image.blobs, image.digest: image.manifest}
    return tar_of(
        ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
        *((f"blobs/{key.replace(':', '/')}", value) for key, value in blobs.items()),
        ("index.json", json.dumps({"schemaVersion": 2, "manifests": [row]}).encode()),
    )


def busybox_tar() -> bytes:
    """A root filesystem of Debian's busybox-static."""
    folders = [entry(n, type=tarfile.DIRTYPE, mode=0o755) for n in ("bin", "etc", "proc", "dev")]
    links = [
        entry(f"bin/{n}", type=tarfile.SYMTYPE, linkname="busybox") for n in ("sh", "ls", "cat")
    ]
    program = (entry("bin/busybox", mode=0o755), Path("/bin/busybox").read_bytes())
    return tar_of(*folders, program, *links)

"""Where a container's /etc files are on the host, and how they get there."""

from pathlib import Path

from nodeagent.control.etcfiles import (
    build_hostname,
    build_hosts,
    build_resolv_conf,
    merge_hosts,
)
from nodeagent.control.parts import Settings
from nodeagent.model.container import ContainerRecord

FILES = ("resolv.conf", "hostname", "hosts")


def write_files(directory: Path, files: dict[str, str]) -> None:
    """Write the files in place: the container has them bind-mounted, so the inode must stay."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o711)
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")


def etc_directory(settings: Settings, container_id: str) -> Path:
    """Where a container's files are."""
    return settings.root / "containers" / container_id / "etc"


def read_resolv_conf(settings: Settings) -> str:
    """The host's file, whatever it holds; "" if there is none."""
    return _read(settings.resolv_conf)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def rewrite(settings: Settings, record: ContainerRecord) -> None:
    """Write all three files as the record says; some kilobytes, so on the loop."""
    files = {
        "hosts": build_hosts(record, _gateways(record)),
        "hostname": build_hostname(record) + "\n",
        "resolv.conf": build_resolv_conf(record, read_resolv_conf(settings)),
    }
    write_files(etc_directory(settings, record.id), files)


def update(settings: Settings, before: ContainerRecord, after: ContainerRecord) -> None:
    """Follow a change of networks; what the container wrote into its files stays.

    Our name server is asked whatever the networks are, so resolv.conf only changes where the
    container had none when it started, and has left it as it was.
    """
    directory = etc_directory(settings, after.id)
    was, is_ = (build_hosts(each, _gateways(each)) for each in (before, after))
    files = {"hosts": merge_hosts(_read(directory / "hosts"), was, is_)}
    host = read_resolv_conf(settings)
    if _read(directory / "resolv.conf") == host:
        files["resolv.conf"] = build_resolv_conf(after, host)
    write_files(directory, files)


def _gateways(record: ContainerRecord) -> list[str]:
    """What ``host-gateway`` stands for: of each family, as the first network has them."""
    return next((each.gateways for each in record.endpoints.values() if each.gateways), [])


def remove(settings: Settings, container_id: str) -> None:
    """Delete the three files and their directory. Idempotent."""
    directory = etc_directory(settings, container_id)
    for name in FILES:
        (directory / name).unlink(missing_ok=True)
    if directory.is_dir():
        directory.rmdir()

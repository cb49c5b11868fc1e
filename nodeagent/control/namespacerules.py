"""Whose processes, IPC, host name and cgroup view a container has: Docker's modes. Pure."""

import re
from collections.abc import Mapping
from typing import Final

from nodeagent.control.creation import split_mode
from nodeagent.errors import Invalid
from nodeagent.model.containerrequest import ContainerCreate

OWN: Final = ("", "private")
JOINED: Final = ("pid_mode", "ipc_mode")  # another container's may be had
MODES: Final[Mapping[str, tuple[str, ...]]] = {
    "pid_mode": ("host",),
    "ipc_mode": ("host", "none", "shareable"),
    "uts_mode": ("host",),
    "cgroupns_mode": ("host",),
}
DOMAIN: Final = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?")  # the kernel takes 64


def check_namespaces(request: ContainerCreate) -> None:
    """Refuse a mode that does not exist, and what a shared namespace excludes (Invalid)."""
    for field, shared in MODES.items():
        _check_mode(field, getattr(request, field), shared)
    _check_user_namespace(request)
    if request.domainname and not DOMAIN.fullmatch(request.domainname):
        raise Invalid("not a domain name", field="domainname", value=request.domainname)
    if request.uts_mode == "host":
        for field, value in (("hostname", request.hostname), ("domainname", request.domainname)):
            if value:
                raise Invalid("the name is the host's with uts_mode host", field=field, value=value)
    if (head := split_mode(request.ipc_mode)[0]) in {"host", "container"}:
        for name in request.sysctls:
            if name.replace("/", ".").startswith(("kernel.", "fs.mqueue.")):
                raise Invalid(
                    f"with ipc_mode {head} the setting would be not this container's alone",
                    field=f"sysctls.{name}",
                )


def _check_user_namespace(request: ContainerCreate) -> None:
    """What is the host's, or another container's, is out of its reach."""
    if request.userns_mode not in {"", "host", "auto"}:
        raise Invalid(
            "no such mode; there are host, auto", field="userns_mode", value=request.userns_mode
        )
    if request.userns_mode != "auto":
        return
    shared = {
        "pid_mode": request.pid_mode not in OWN,
        "ipc_mode": request.ipc_mode not in (*OWN, "none"),
        "uts_mode": request.uts_mode not in OWN,
        "network_mode": request.network_mode == "host",
        "privileged": request.privileged,
    }
    for field, is_shared in shared.items():
        if is_shared:
            raise Invalid(
                "with userns_mode auto a container has no rights on the host and on namespaces of"
                " others; leave one of both out",
                field=field,
            )


def _check_mode(field: str, mode: str, shared: tuple[str, ...]) -> None:
    head, target = split_mode(mode)
    if field in JOINED and head == "container" and target:
        return
    if mode not in (*OWN, *shared):
        more = ("container:NAME",) if field in JOINED else ()
        raise Invalid(
            f"no such mode; there are {', '.join(('private', *shared, *more))}",
            field=field,
            value=mode,
        )


def namespace_of(mode: str) -> str:
    """What the runtime is told: "" a namespace of its own, "host", "none"; not ``container:``."""
    return "" if mode in (*OWN, "shareable") else mode

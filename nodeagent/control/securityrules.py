"""What a container may ask of the kernel's security modules, and how it is shown. Pure."""

from collections.abc import Collection
from typing import Final

from nodeagent.errors import Invalid
from nodeagent.model.containerrequest import ContainerCreate

SELINUX: Final = ("disable", "user:", "role:", "type:", "level:")


def check_security(request: ContainerCreate, modules: Collection[str]) -> None:
    """Refuse what would be ignored in silence (Invalid names the field).

    Args:
        modules: "apparmor" and "selinux", as far as this kernel runs them.
    """
    if request.apparmor not in {"", "unconfined"} and "apparmor" not in modules:
        raise Invalid(
            "this kernel runs without AppArmor, so no profile would hold; leave it out",
            field="apparmor",
            value=request.apparmor,
        )
    for n, label in enumerate(request.selinux):
        _check_label(f"selinux[{n}]", label, has_selinux="selinux" in modules)


def _check_label(field: str, label: str, *, has_selinux: bool) -> None:
    if not label.startswith(SELINUX):
        raise Invalid(
            "not a label: there are disable, user:, role:, type: and level:",
            field=field,
            value=label,
        )
    if label == "disable":
        return
    why = (
        "this agent gives files no SELinux labels, so the program could not read its own"
        if has_selinux
        else "this kernel runs without SELinux, so no label would hold"
    )
    raise Invalid(f"{why}; leave it out, or give disable", field=field, value=label)


def security_options(request: ContainerCreate) -> list[str]:
    """As ``--security-opt`` takes them."""
    found = ["no-new-privileges"] if request.no_new_privileges else []
    if request.seccomp != "default":
        found.append(f"seccomp={request.seccomp}")
    if request.system_paths != "confined":
        found.append(f"systempaths={request.system_paths}")
    if request.apparmor:
        found.append(f"apparmor={request.apparmor}")
    return [*found, *(f"label={each}" for each in request.selinux)]

"""``--volume``, ``--mount`` and ``--tmpfs``: what to mount where. Pure."""

import os
from collections.abc import Callable, Mapping
from typing import Final

from nodeagent.cli.grammar import UsageError, check_range
from nodeagent.cli.quantities import parse_size

Mount = dict[str, object]
_PROPAGATIONS: Final = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
_VOLUME_OPTIONS: Final[Mapping[str, Mount]] = {
    "ro": {"read_only": True},
    "rw": {},
    "nocopy": {"no_copy": True},
    **{name: {"propagation": name} for name in _PROPAGATIONS},
    # SELinux labels and a hint for macOS: nothing to do here, but scripts carry them.
    **{name: {} for name in ("z", "Z", "cached", "delegated", "consistent")},
}
_TMPFS_DEFAULTS: Final = ("rw", "noexec", "nosuid", "nodev")


def parse_volume(words: str, cwd: str) -> Mount:
    """Read ``[NAME|/PATH|./PATH:]/TARGET[:OPTION,…]``.

    Raises:
        UsageError: names the part that is wrong.
    """
    parts = words.split(":")
    if len(parts) == 1:
        return {"type": "volume", "target": _target("volume", words, words)}
    if len(parts) > 3 or not parts[0]:
        raise UsageError(f"--volume: {words!r} is not SOURCE:/TARGET[:OPTIONS]")
    source, target = parts[0], _target("volume", parts[1], words)
    mount: Mount = {"type": "volume", "source": source, "target": target}
    if source[0] in "/.~":
        path = os.path.normpath(os.path.join(cwd, os.path.expanduser(source)))  # noqa: PTH111,PTH118
        mount |= {"type": "bind", "source": path}
    for option in parts[2].split(",") if len(parts) == 3 else ():
        mount |= _volume_option(option, words)
    return mount


def _volume_option(option: str, words: str) -> Mount:
    if option not in _VOLUME_OPTIONS:
        known = ", ".join(_VOLUME_OPTIONS)
        raise UsageError(f"--volume: unknown option {option!r} in {words!r}; there are {known}")
    return _VOLUME_OPTIONS[option]


def _target(flag: str, path: str, words: str) -> str:
    if not path.startswith("/") or os.path.normpath(path) in {"/", "//"}:
        raise UsageError(
            f"--{flag}: the target {path!r} in {words!r} must be an absolute path other than /"
        )
    return path


def parse_mount(words: str, cwd: str) -> Mount:
    """Read ``type=…,source=…,target=…,KEY=VALUE…``; commas within double quotes are kept.

    Raises:
        UsageError: names the key that is unknown or missing.
    """
    mount: Mount = {"type": "volume"}
    for item in split_commas("mount", words):
        key, equals, value = item.partition("=")
        read = _MOUNT_KEYS.get(key.lower())
        if read is None:
            raise UsageError(f"--mount: unknown key {key!r}; there are {', '.join(_MOUNT_KEYS)}")
        if not equals and read is not _read_only and read is not _no_copy:
            raise UsageError(f"--mount: {key!r} in {words!r} needs a value: {key}=VALUE")
        read(mount, value)
    return _finish_mount(mount, words, cwd)


def split_commas(flag: str, words: str) -> list[str]:
    """Split at commas outside of double quotes (one line of CSV)."""
    import csv

    try:
        return next(csv.reader([words], strict=True), [])
    except csv.Error as exc:
        raise UsageError(f"--{flag}: {words!r}: {exc}") from exc


def _finish_mount(mount: Mount, words: str, cwd: str) -> Mount:
    if "target" not in mount:
        raise UsageError(f"--mount: {words!r} has no target; add target=/PATH")
    _target("mount", str(mount["target"]), words)
    if mount["type"] == "bind":
        source = str(mount.get("source", ""))
        if not source:
            raise UsageError(f"--mount: type=bind in {words!r} needs source=/PATH")
        mount["source"] = os.path.normpath(os.path.join(cwd, source))  # noqa: PTH118
    if mount["type"] == "tmpfs" and "source" in mount:
        raise UsageError(f"--mount: type=tmpfs in {words!r} takes no source")
    return mount


def _set_type(mount: Mount, value: str) -> None:
    if value not in {"bind", "volume", "tmpfs"}:
        raise UsageError(f"--mount: type {value!r} is not one of bind, volume, tmpfs")
    mount["type"] = value


def _set_text(field: str) -> Callable[[Mount, str], None]:
    def set_(mount: Mount, value: str) -> None:
        mount[field] = value

    return set_


def _truth(key: str, value: str) -> bool:
    if value.lower() not in {"", "1", "true", "0", "false"}:
        raise UsageError(f"--mount: {key}={value!r} is neither true nor false")
    return value.lower() in {"", "1", "true"}


def _read_only(mount: Mount, value: str) -> None:
    mount["read_only"] = _truth("readonly", value)


def _no_copy(mount: Mount, value: str) -> None:
    mount["no_copy"] = _truth("volume-nocopy", value)


def _set_propagation(mount: Mount, value: str) -> None:
    if value not in _PROPAGATIONS:
        known = ", ".join(_PROPAGATIONS)
        raise UsageError(f"--mount: bind-propagation {value!r} is not one of {known}")
    mount["propagation"] = value


def _add_option(mount: Mount, value: str) -> None:
    key, _, setting = value.partition("=")
    before = mount.get("volume_options")
    mount["volume_options"] = {**(before if isinstance(before, dict) else {}), key: setting}


def _set_size(mount: Mount, value: str) -> None:
    mount["tmpfs_size_bytes"] = parse_size("mount tmpfs-size", value)


def _set_mode(mount: Mount, value: str) -> None:
    try:
        mount["tmpfs_mode"] = check_range(f"--mount: tmpfs mode {value!r}", int(value, 8))
    except ValueError:
        raise UsageError(f"--mount: tmpfs mode {value!r} is not an octal number") from None


_MOUNT_KEYS: Final[Mapping[str, Callable[[Mount, str], None]]] = {
    "type": _set_type,
    **dict.fromkeys(("source", "src"), _set_text("source")),
    **dict.fromkeys(("target", "dst", "destination"), _set_text("target")),
    **dict.fromkeys(("readonly", "ro"), _read_only),
    "bind-propagation": _set_propagation,
    "volume-nocopy": _no_copy,
    "volume-subpath": _set_text("volume_subpath"),
    "volume-driver": _set_text("volume_driver"),
    "volume-opt": _add_option,
    "tmpfs-size": _set_size,
    "tmpfs-mode": _set_mode,
}


def parse_tmpfs(words: str) -> Mount:
    """Read ``/TARGET[:size=64m,mode=1777,ro]``; noexec, nosuid and nodev always hold."""
    target, _, options = words.partition(":")
    mount: Mount = {"type": "tmpfs", "target": _target("tmpfs", target, words)}
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if key == "size":
            _set_size(mount, value)
        elif key == "mode":
            _set_mode(mount, value)
        elif option == "ro":
            mount["read_only"] = True
        elif option not in _TMPFS_DEFAULTS:
            raise UsageError(
                f"--tmpfs: option {option!r} in {words!r} is not supported;"
                f" there are size=, mode=, ro, {', '.join(_TMPFS_DEFAULTS)}"
            )
    return mount

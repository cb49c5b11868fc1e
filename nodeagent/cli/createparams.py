"""From the flags of ``run`` and ``create`` to the parameters of ``container.create``. Pure.

Only what was asked for is in the result, so that the agent's defaults hold for the rest.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nodeagent.cli.call import parse_pairs
from nodeagent.cli.grammar import UsageError, Values, parse_whole
from nodeagent.cli.mounts import parse_mount, parse_tmpfs, parse_volume, split_commas
from nodeagent.cli.publish import parse_expose, parse_publish
from nodeagent.cli.quantities import parse_cpus, parse_seconds, parse_size

Params = dict[str, object]
_RESTARTS: Final = ("no", "always", "unless-stopped", "on-failure")
# flag -> field, for what is passed on as it is
_TEXTS: Final = {
    "name": "name", "workdir": "working_dir", "user": "user", "hostname": "hostname",
    "domainname": "domainname", "pid": "pid_mode", "ipc": "ipc_mode", "uts": "uts_mode",
    "cgroupns": "cgroupns_mode", "userns": "userns_mode",
    "cpuset-cpus": "cpuset_cpus", "cpuset-mems": "cpuset_mems", "stop-signal": "stop_signal",
    "platform": "platform", "log-driver": "log_driver",
}  # fmt: skip
_SWITCHES: Final = {
    "tty": "tty", "interactive": "open_stdin", "publish-all": "publish_all", "init": "init",
    "privileged": "privileged", "read-only": "read_only", "rm": "auto_remove",
    "oom-kill-disable": "oom_kill_disable",
}  # fmt: skip
_LISTS: Final = {
    "dns": "dns", "dns-search": "dns_search", "dns-option": "dns_options", "device": "devices",
    "device-cgroup-rule": "device_cgroup_rules",
    "cap-add": "cap_add", "cap-drop": "cap_drop", "group-add": "groups",
}  # fmt: skip
_NUMBERS: Final = {
    "cpu-shares": "cpu_shares", "pids-limit": "pids_limit", "oom-score-adj": "oom_score_adj",
    "stop-timeout": "stop_timeout_s", "cpu-period": "cpu_period_us",
    "cpu-quota": "cpu_quota_us", "blkio-weight": "blkio_weight",
}  # fmt: skip
_SIZES: Final = {
    "memory": "memory_bytes", "memory-reservation": "memory_reservation_bytes",
}  # fmt: skip
_HEALTH_TIMES: Final = {
    "health-interval": "interval_s", "health-timeout": "timeout_s",
    "health-start-period": "start_period_s", "health-start-interval": "start_interval_s",
}  # fmt: skip
_ENDPOINT_KEYS: Final = {
    "ip": "ip", "ip6": "ip6", "mac-address": "mac_address",
}  # fmt: skip
_IO_LIMITS: Final = {
    "device-read-bps": "read_bps", "device-write-bps": "write_bps",
    "device-read-iops": "read_iops", "device-write-iops": "write_iops",
    "blkio-weight-device": "weight",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a command line refers to outside of itself."""

    environ: Mapping[str, str]
    cwd: str
    read_text: Callable[[str], str]  # the text of a file; UsageError if it cannot be read


def build_create(values: Values, words: Sequence[str], around: Surroundings) -> Params:
    """Build the parameters of ``container.create``.

    Raises:
        UsageError: names the flag that is wrong.
    """
    params: Params = {"image": words[0]}
    if len(words) > 1:
        params["cmd"] = list(words[1:])
    params |= _plain(values)
    params |= _limits(values)
    params |= _networking(values)
    params |= _mounting(values, around)
    params |= _security(values, around)
    params |= _health(values)
    params |= _rest(values, around)
    return params


def _plain(values: Values) -> Params:
    params: Params = {
        field: values.text(flag) for flag, field in _TEXTS.items() if values.text(flag)
    }
    params |= {field: True for flag, field in _SWITCHES.items() if values.is_on(flag)}
    params |= {field: values.list(flag) for flag, field in _LISTS.items() if values.list(flag)}
    return params | {
        field: values.number(flag) for flag, field in _NUMBERS.items() if flag in values.given
    }


def _limits(values: Values) -> Params:
    params = _memory_and_time(values)
    if values.text("shm-size"):
        params["shm_size_bytes"] = parse_size("shm-size", values.text("shm-size"))
    params |= storage_params(values)
    if values.list("ulimit"):
        params["ulimits"] = dict(map(_parse_ulimit, values.list("ulimit")))
    limits = [
        _parse_io(flag, kind, words)
        for flag, kind in _IO_LIMITS.items()
        for words in values.list(flag)
    ]
    return params | ({"io_limits": limits} if limits else {})


def _parse_io(flag: str, kind: str, words: str) -> Params:
    device, colon, value = words.rpartition(":")
    if not colon or not device.startswith("/dev/"):
        raise UsageError(f"--{flag}: {words!r} is not DEVICE:LIMIT, such as /dev/sda:100")
    is_size = kind.endswith("bps")
    limit = parse_size(flag, value) if is_size else parse_whole(f"--{flag}: {words!r}", value)
    return {"kind": kind, "device": device, "value": limit}


def storage_params(values: Values) -> Params:
    """Read ``--storage-opt size=2g``."""
    params: Params = {}
    for words in values.list("storage-opt"):
        key, _, value = words.partition("=")
        if key != "size":
            raise UsageError(f"--storage-opt: {words!r}: the one option there is is size=2g")
        params["storage_size_bytes"] = parse_size("storage-opt", value)
    return params


def limit_params(values: Values) -> Params:
    """Build the limits of ``container.update``."""
    params = _memory_and_time(values) | storage_params(values)
    if values.text("cpuset-cpus"):
        params["cpuset_cpus"] = values.text("cpuset-cpus")
    return params | {
        field: values.number(flag)
        for flag, field in (("cpu-shares", "cpu_shares"), ("pids-limit", "pids_limit"))
        if flag in values.given
    }


def _memory_and_time(values: Values) -> Params:
    params: Params = {
        field: parse_size(flag, values.text(flag))
        for flag, field in _SIZES.items()
        if values.text(flag)
    }
    swap = values.text("memory-swap")
    if swap:
        params["memory_swap_bytes"] = -1 if swap == "-1" else parse_size("memory-swap", swap)
    if values.text("cpus"):
        params["nano_cpus"] = parse_cpus(values.text("cpus"))
    return params


def _parse_ulimit(words: str) -> tuple[str, tuple[int, int]]:
    name, _, limits = words.partition("=")
    soft, _, hard = limits.partition(":")
    what = f"--ulimit: {words!r} (NAME=SOFT[:HARD]): a limit"
    pair = parse_whole(what, soft), parse_whole(what, hard or soft)
    if -1 < pair[1] < pair[0]:
        raise UsageError(f"--ulimit: soft limit {pair[0]} of {name} is above hard limit {pair[1]}")
    return name, pair


def _networking(values: Values) -> Params:
    params: Params = {}
    if values.list("publish"):
        params["ports"] = [b for words in values.list("publish") for b in parse_publish(words)]
    if values.list("expose"):
        params["expose"] = [port for words in values.list("expose") for port in parse_expose(words)]
    if values.list("add-host"):
        params["extra_hosts"] = [_parse_host(words) for words in values.list("add-host")]
    return params | _networks(values)


def _parse_host(words: str) -> str:
    """Read ``NAME:IP`` or ``NAME=IP``; an IPv6 address may stand in brackets."""
    cut = "=" if "=" in words else ":"
    name, _, ip = words.partition(cut)
    if not name or not ip:
        raise UsageError(f"--add-host: {words!r} is not NAME:IP")
    return f"{name}:{ip[1:-1] if ip.startswith('[') else ip}"


def _networks(values: Values) -> Params:
    named = [parse_network(words) for words in values.list("network")]
    networks = dict(named)
    if len(networks) < len(named):
        raise UsageError("--network: the same network is named twice")
    mode = named[0][0] if named else "bridge"
    first = {field: values.text(flag) for flag, field in _ENDPOINT_KEYS.items()}
    settings: Params = {field: value for field, value in first.items() if value}
    if values.list("network-alias"):
        settings["aliases"] = values.list("network-alias")
    if settings:
        networks[mode] = {**networks.get(mode, {}), **settings}
    elif named and not networks[mode]:
        del networks[mode]
    return ({"network_mode": mode} if named else {}) | ({"networks": networks} if networks else {})


def parse_network(words: str) -> tuple[str, Params]:
    """Read a network's name, or ``name=…,alias=…,ip=…,ip6=…,mac-address=…,gw-priority=…``."""
    if "=" not in words:
        return ("bridge" if words == "default" else words), {}
    name, settings, aliases = "", Params(), list[str]()
    for item in split_commas("network", words):
        key, _, value = item.partition("=")
        if key == "name":
            name = value
        elif key == "alias":
            aliases.append(value)
        elif key in _ENDPOINT_KEYS:
            settings[_ENDPOINT_KEYS[key]] = value
        elif key == "gw-priority":
            settings["gateway_priority"] = parse_whole(f"--network: gw-priority={value}", value)
        else:
            raise UsageError(
                f"--network: unknown key {key!r}; there are name, alias, ip, ip6, mac-address,"
                " gw-priority"
            )
    if not name:
        raise UsageError(f"--network: {words!r} has no name=NETWORK")
    return name, settings | ({"aliases": aliases} if aliases else {})


def _mounting(values: Values, around: Surroundings) -> Params:
    mounts = [parse_volume(words, around.cwd) for words in values.list("volume")]
    mounts += [parse_mount(words, around.cwd) for words in values.list("mount")]
    mounts += [parse_tmpfs(words) for words in values.list("tmpfs")]
    targets = [str(mount["target"]).rstrip("/") for mount in mounts]
    twice = {target for target in targets if targets.count(target) > 1}
    if twice:
        raise UsageError(f"--volume: two mounts at {', '.join(sorted(twice))}; leave one out")
    return {"mounts": mounts} if mounts else {}


def _security(values: Values, around: Surroundings) -> Params:
    params: Params = {}
    labels: list[str] = []
    for option in values.list("security-opt"):
        key, value = _parse_option(option)
        if key == "no-new-privileges":
            params["no_new_privileges"] = value != "false"
        elif (key, value) == ("systempaths", "unconfined"):
            params["system_paths"] = "unconfined"
        elif key == "seccomp" and value:
            keep = value in {"unconfined", "default", "builtin"}
            name = value.replace("builtin", "default")
            params["seccomp"] = name if keep else around.read_text(value)
        elif key == "apparmor" and value:
            params["apparmor"] = value
        elif key == "label" and value:
            labels.append(value)
        else:
            raise UsageError(
                f"--security-opt: unknown option {option!r}; there are no-new-privileges,"
                " seccomp=unconfined, seccomp=FILE, systempaths=unconfined, apparmor=PROFILE"
                " and label=disable"
            )
    return params | ({"selinux": labels} if labels else {})


def _parse_option(option: str) -> tuple[str, str]:
    """``key=value`` or, as of old, ``key:value``; the value may hold either sign."""
    key = re.split("[=:]", option, maxsplit=1)[0]
    return key, option[len(key) + 1 :]


def _health(values: Values) -> Params:
    health: Params = {
        field: parse_seconds(flag, values.text(flag))
        for flag, field in _HEALTH_TIMES.items()
        if flag in values.given
    }
    if values.text("health-cmd"):
        health["test"] = ["CMD-SHELL", values.text("health-cmd")]
    if "health-retries" in values.given:
        health["retries"] = values.number("health-retries")
    if values.text("on-unhealthy") != "none":
        health["on_unhealthy"] = values.text("on-unhealthy")
    if values.is_on("no-healthcheck"):
        if health:
            raise UsageError("--no-healthcheck excludes --health-* and --on-unhealthy")
        health["test"] = ["NONE"]
    return {"health": health} if health else {}


def _rest(values: Values, around: Surroundings) -> Params:
    params: Params = {}
    env = build_env(values.list("env-file"), values.list("env"), around)
    labels = parse_pairs(_file_lines(values.list("label-file"), around), "label-file")
    labels |= parse_pairs(values.list("label"), "label")
    sysctls = parse_pairs(values.list("sysctl"), "sysctl")
    params |= {"env": env} if env else {}
    params |= {"labels": labels} if labels else {}
    params |= {"sysctls": sysctls} if sysctls else {}
    if swappiness := values.text("memory-swappiness"):
        params["memory_swappiness"] = parse_whole("--memory-swappiness", swappiness)
    log_options = parse_pairs(values.list("log-opt"), "log-opt")
    params |= {"log_options": log_options} if log_options else {}
    if "entrypoint" in values.given:
        params["entrypoint"] = [values.text("entrypoint")]
    if "restart" in values.given:
        params["restart_policy"] = parse_restart(values.text("restart"))
        if values.is_on("rm") and params["restart_policy"] != {"name": "no"}:
            raise UsageError("--restart and --rm exclude each other; leave one out")
    return params


def build_env(files: Sequence[str], settings: Sequence[str], around: Surroundings) -> list[str]:
    """Build the environment: files first; ``NAME`` alone is passed on from here if it is set.

    ``-e NAME`` of a name that is not set here removes the image's.
    """
    env = []
    for line in _file_lines(files, around):
        if "=" in line:
            env.append(line)
        elif line in around.environ:
            env.append(f"{line}={around.environ[line]}")
    for setting in settings:
        if not setting or setting.startswith("="):
            raise UsageError(f"--env: {setting!r} has no name; write NAME=VALUE")
        known = "=" not in setting and setting in around.environ
        env.append(f"{setting}={around.environ[setting]}" if known else setting)
    return env


def _file_lines(paths: Sequence[str], around: Surroundings) -> list[str]:
    lines = [line.lstrip() for path in paths for line in around.read_text(path).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def parse_restart(words: str) -> Params:
    """Read ``on-failure:3`` and its like (UsageError)."""
    name, colon, count = words.partition(":")
    if name not in _RESTARTS:
        raise UsageError(f"--restart: {name!r} is not one of {', '.join(_RESTARTS)}")
    if colon and (name != "on-failure" or not count.isdecimal()):
        raise UsageError(f"--restart: {words!r}: only on-failure takes a number of tries")
    return {"name": name} | (
        {"max_retries": parse_whole(f"--restart: {words!r}", count)} if colon else {}
    )

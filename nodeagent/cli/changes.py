"""``import --change``: instructions of a Dockerfile as parameters of ``image.import``. Pure."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from nodeagent.cli.grammar import UsageError, parse_whole
from nodeagent.cli.quantities import parse_seconds

Params = dict[str, object]


def parse_changes(lines: Sequence[str]) -> Params:
    """Read instructions; later ones win, ENV, LABEL, EXPOSE and VOLUME add up.

    Raises:
        UsageError: an instruction that is unknown here, or cannot be read.
    """
    params: Params = {}
    for line in lines:
        name, _, rest = line.strip().partition(" ")
        read = _INSTRUCTIONS.get(name.upper())
        if read is None:
            known = ", ".join(_INSTRUCTIONS)
            raise UsageError(f"--change: {name!r} is not one of {known}")
        if not rest.strip():
            raise UsageError(f'--change: {name} says nothing; write for instance CMD ["sh"]')
        read(params, rest.strip())
    return params


def _command(field: str) -> Callable[[Params, str], None]:
    def read(params: Params, words: str) -> None:
        params[field] = parse_command(words)

    return read


def parse_command(words: str) -> list[str]:
    """Read the JSON form as it is; another form is for the shell."""
    if not words.startswith("["):
        return ["/bin/sh", "-c", words]
    import msgspec

    try:
        return msgspec.json.decode(words, type=list[str])
    except msgspec.DecodeError as exc:
        raise UsageError(f"--change: {words!r} is no JSON list of strings: {exc}") from exc


def _text(field: str) -> Callable[[Params, str], None]:
    def read(params: Params, words: str) -> None:
        params[field] = words

    return read


def _pairs(words: str) -> list[tuple[str, str]]:
    """Read ``A=1 B="2 3"``, or the old ``A all the rest``."""
    head, _, rest = words.partition(" ")
    if "=" not in head:
        return [(head, rest.strip())]
    try:
        items = [item.partition("=") for item in shlex.split(words)]
    except ValueError as exc:
        raise UsageError(f"--change: {words!r}: {exc}") from exc
    return [(key, value) for key, _, value in items]


def _env(params: Params, words: str) -> None:
    _add(params, "env", [f"{key}={value}" for key, value in _pairs(words)])


def _labels(params: Params, words: str) -> None:
    before = params.get("labels")
    params["labels"] = {**(before if isinstance(before, dict) else {}), **dict(_pairs(words))}


def _expose(params: Params, words: str) -> None:
    from nodeagent.cli.publish import parse_expose

    _add(params, "exposed_ports", [port for word in words.split() for port in parse_expose(word)])


def _volumes(params: Params, words: str) -> None:
    _add(params, "volumes", parse_command(words) if words.startswith("[") else words.split())


_HEALTH_OPTIONS: Final = {
    "interval": "interval_s", "timeout": "timeout_s", "start-period": "start_period_s",
    "start-interval": "start_interval_s", "retries": "retries",
}  # fmt: skip


def _healthcheck(params: Params, words: str) -> None:
    """Read ``[--interval=30s …] CMD …`` or ``NONE``."""
    health: Params = {}
    while words.startswith("--"):
        option, _, words = words.partition(" ")
        name, _, value = option[2:].partition("=")
        if name not in _HEALTH_OPTIONS:
            known = ", ".join(f"--{each}=" for each in _HEALTH_OPTIONS)
            raise UsageError(f"--change: HEALTHCHECK: {option!r} is not one of {known}")
        health[_HEALTH_OPTIONS[name]] = _health_value(name, value)
        words = words.strip()
    kind, _, command = words.partition(" ")
    command = command.strip()
    if kind == "NONE" and not command and not health:
        health["test"] = ["NONE"]
    elif kind != "CMD" or not command:
        raise UsageError(f"--change: HEALTHCHECK: {words!r} is neither CMD with a command nor NONE")
    elif command.startswith("["):
        health["test"] = ["CMD", *parse_command(command)]
    else:
        health["test"] = ["CMD-SHELL", command]
    params["health"] = health


def _health_value(name: str, value: str) -> float:
    if name != "retries":
        return parse_seconds("change HEALTHCHECK", value)
    if not value.isdecimal():
        raise UsageError(f"--change: HEALTHCHECK: --retries={value} is not a number")
    return parse_whole(f"--change: HEALTHCHECK: --retries={value}", value)


def _add(params: Params, field: str, items: list[str]) -> None:
    before = params.get(field)
    params[field] = [*(before if isinstance(before, list) else []), *items]


_INSTRUCTIONS: Final[Mapping[str, Callable[[Params, str], None]]] = {
    "CMD": _command("cmd"),
    "ENTRYPOINT": _command("entrypoint"),
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _labels,
    "USER": _text("user"),
    "VOLUME": _volumes,
    "WORKDIR": _text("working_dir"),
}

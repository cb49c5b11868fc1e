"""Which module has which command; and where errors become messages and exit codes."""

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from nodeagent.cli.call import Call, CommandFailed, complain
from nodeagent.cli.grammar import (
    Flag,
    UsageError,
    Values,
    Verb,
    check_words,
    parse,
    render_flags,
    render_help,
    switch,
    text,
)

DEFAULT_HOST: Final = "unix:///run/nodeagent/nodeagent.sock"
USAGE_CODE: Final = 125  # as Docker's, for a command line that cannot be understood
NO_COMMAND_CODE: Final = 1
FILE_CODE: Final = 1
INTERRUPTED_CODE: Final = 130
PIPE_CODE: Final = 141

HOST: Final = text("host", "Where the agent listens (or NODEAGENT_HOST)", default=DEFAULT_HOST)
_TLS: Final = {
    "tlscacert": "NODEAGENT_TLS_CACERT",
    "tlscert": "NODEAGENT_TLS_CERT",
    "tlskey": "NODEAGENT_TLS_KEY",
}
TLS_FLAGS: Final = (
    text("tlscacert", "Whom to trust by TCP (or ca.pem in NODEAGENT_CERT_PATH)", completes="file"),
    text("tlscert", "Certificate by TCP, of `cluster cert` (or cert.pem there)", completes="file"),
    text("tlskey", "Its key (or key.pem there)", completes="file"),
)
TLS_NAMES: Final = frozenset(f"--{name}" for name in _TLS)
HELP: Final = switch("help", "Print this help")
GLOBAL_FLAGS: Final = (
    text("host", HOST.help, "H", DEFAULT_HOST),
    switch("help", HELP.help, "h"),
    switch("version", "Print the version of this client", "v"),
    *TLS_FLAGS,
)

# noun -> verb -> module below nodeagent.cli; only the module of the verb at hand is imported.
COMMANDS: Final[Mapping[str, Mapping[str, str]]] = {
    "container": {
        **dict.fromkeys(("run", "create", "start", "attach", "exec"), "run"),
        **dict.fromkeys(("logs", "stats", "top"), "watch"),
        "port": "port",
        **dict.fromkeys(("cp", "diff", "export", "commit"), "files"),
        **dict.fromkeys(
            [
                "ls",
                "inspect",
                "stop",
                "restart",
                "kill",
                "pause",
                "unpause",
                "update",
                "rm",
                "rename",
                "wait",
                "prune",
            ],
            "container",
        ),
    },
    "image": {
        **dict.fromkeys(("ls", "rm", "inspect", "history", "tag", "prune"), "image"),
        **dict.fromkeys(("pull", "load", "import"), "image"),
        **dict.fromkeys(("push", "save"), "registry"),
    },
    "network": {
        **dict.fromkeys(
            [
                "create",
                "ls",
                "rm",
                "inspect",
                "connect",
                "disconnect",
                "prune",
                "plan",
                "check",
                "audit",
                "repair",
            ],
            "network",
        ),
        "explain": "explain",
    },
    "port": {"ls": "port"},
    "volume": {
        **dict.fromkeys(("create", "ls", "rm", "inspect", "prune"), "volume"),
        **dict.fromkeys(("update", "rename", "snapshot", "clone", "restore"), "volumecopies"),
        **dict.fromkeys(("export", "import", "backup"), "volumecopies"),
        **dict.fromkeys(("lease",), "volumelease"),
    },
    "system": dict.fromkeys(
        ["info", "df", "events", "audit", "version", "ping", "prune"], "system"
    ),
    "cluster": dict.fromkeys(
        [
            "init",
            "join",
            "leave",
            "info",
            "token",
            "cert",
            "renew",
            "backup",
            "restore",
            "recover",
            "ca",
        ],
        "cluster",
    ),
    "node": dict.fromkeys(["ls", "inspect", "update", "promote", "demote", "rm"], "node"),
    "rpc": {"describe": "rpc"},
}
ALIASES: Final = {"list": "ls", "ps": "ls", "remove": "rm"}
_TOP_OTHERS: Final = {
    "ps": ("container", "ls"),
    "images": ("image", "ls"),
    "rmi": ("image", "rm"),
    **{
        verb: ("image", verb)
        for verb in ("pull", "push", "load", "save", "import", "history", "tag")
    },
    "login": ("", "login"),
    "logout": ("", "logout"),
    **{verb: ("system", verb) for verb in ("events", "info", "version")},
    "inspect": ("", "inspect"),
    "completion": ("", "completion"),
}
# What may be said without the noun, as in Docker.
TOP: Final[Mapping[str, tuple[str, str]]] = {
    **{verb: ("container", verb) for verb in COMMANDS["container"] if verb not in {"ls", "prune"}},
    **_TOP_OTHERS,
}
_OWN_MODULES: Final = {
    "inspect": "objects",
    "completion": "completion",
    "login": "registry",
    "logout": "registry",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A command and how it was called."""

    path: str
    verb: Verb


def main(argv: Sequence[str]) -> int:
    """Run one client command; the exit code."""
    try:
        return _run(argv, os.environ)
    except BrokenPipeError:
        # Whoever read us has gone; do not complain again when the interpreter flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CODE
    except KeyboardInterrupt:
        return INTERRUPTED_CODE
    except OSError as exc:  # a file of the user's: unreadable, a directory, on a full disk
        complain(f"{exc.filename or 'output'}: {exc.strerror}")
        return FILE_CODE


def _run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    try:
        values, words = parse(GLOBAL_FLAGS, argv, options_first=True)
    except UsageError as exc:
        return _misused(str(exc), "nodeagent")
    environ = {**environ, **_tls_of(values)}
    if values.is_on("version"):
        words = ["version", "--client"]
    if not words or words == ["help"] or (values.is_on("help")):
        sys.stdout.write(render_overview())
        return 0 if words or values.is_on("help") else NO_COMMAND_CODE
    if words[0] == "__complete":
        from nodeagent.cli.completion import print_candidates

        return print_candidates(words[1:], _host(values, environ))
    if words[0] == "help":
        words = [*words[1:], "--help"]
    return _run_command(words, _host(values, environ), environ)


def _tls_of(values: Values) -> dict[str, str]:
    """Flags in the place of the variables that say the same."""
    return {variable: values.text(flag) for flag, variable in _TLS.items() if flag in values.given}


def _host(values: Values, environ: Mapping[str, str]) -> str:
    if "host" in values.given:
        return values.text("host")
    return environ.get("NODEAGENT_HOST") or DEFAULT_HOST


def _run_command(words: Sequence[str], host: str, environ: Mapping[str, str]) -> int:
    found, rest = find(words)
    if found is None:
        return _no_such_command(words)
    verb = found.verb
    try:
        values, args = parse(flags_of(verb), rest, options_first=verb.options_first)
        if values.is_on("help"):
            sys.stdout.write(render_help(found.path, verb, extra_flags(verb)))
            return 0
        check_words(found.path, verb, args)
        host = values.text("host") if "host" in values.given else host
        return _call(verb, values, args, host, environ)
    except UsageError as exc:
        return _misused(str(exc), found.path)


def _call(
    verb: Verb, values: Values, args: list[str], host: str, environ: Mapping[str, str]
) -> int:
    # Not at the top: --help and the mistakes in a command line need no client.
    from nodeagent.rpc.errors import ConnectionLost, RpcError

    try:
        with ExitStack() as stack:
            return verb.run(
                Call(values=values, words=args, host=host, environ=environ, stack=stack)
            )
    except CommandFailed as exc:
        complain(str(exc))
        return exc.exit_code
    except ConnectionLost as exc:
        complain(_unreachable(exc) if "host" in exc.fields else str(exc))
        return verb.failure_code
    except RpcError as exc:
        complain(str(exc))
        return exit_code_of(exc.fields, verb.failure_code)
    except UnicodeEncodeError as exc:  # only valid text can be said to the agent
        raise UsageError(f"{exc.object!r} is not UTF-8; write it in UTF-8") from exc


def exit_code_of(fields: Mapping[str, object], otherwise: int) -> int:
    """126 and 127 come from the agent, which knows why a command could not be run."""
    code = fields.get("exit_code")
    return code if isinstance(code, int) else otherwise


def _unreachable(exc: Exception) -> str:
    return (
        f"{exc}\n  start it:        systemctl start nodeagent"
        "\n  or by hand:      nodeagent serve --config FILE --root DIR --run DIR"
        "\n  another agent:   nodeagent --host unix:///PATH or tcp://HOST:PORT …, or NODEAGENT_HOST"
    )


def _misused(message: str, path: str) -> int:
    complain(f"{message}\nSee '{path} --help'.")
    return USAGE_CODE


def _no_such_command(words: Sequence[str]) -> int:
    noun = words[0] if words[0] in COMMANDS else ""
    if noun and (len(words) == 1 or words[1] in {"--help", "-h"}):
        sys.stdout.write(render_noun(noun))
        return 0
    bad = " ".join(words[: 2 if noun else 1])
    return _misused(f"{bad!r} is not a command", f"nodeagent {noun}".strip())


def find(words: Sequence[str]) -> tuple[Found | None, list[str]]:
    """Look up a command by its words; also give the words that are left for it."""
    if words[0] in COMMANDS and len(words) == 1:
        return None, []
    if _is_noun(words):
        noun, name, rest = words[0], ALIASES.get(words[1], words[1]), list(words[2:])
    else:
        (noun, name), rest = TOP.get(words[0], ("", "")), list(words[1:])
    verb = load(noun, name)
    if verb is None:
        return None, []
    used = " ".join(words[: len(words) - len(rest)])
    return Found(f"nodeagent {used}", verb), rest


def _is_noun(words: Sequence[str]) -> bool:
    """``port ls`` is of a noun, ``port web`` a command of that name."""
    if words[0] not in COMMANDS:
        return False
    return words[0] not in TOP or ALIASES.get(words[1], words[1]) in COMMANDS[words[0]]


def load(noun: str, name: str) -> Verb | None:
    """Import the module of a verb and give the verb; None if there is none of that name."""
    module = COMMANDS[noun].get(name) if noun else _OWN_MODULES.get(name)
    if module is None:
        return None
    verbs: tuple[Verb, ...] = importlib.import_module(f"nodeagent.cli.{module}").VERBS
    return next(verb for verb in verbs if verb.name == name)


def extra_flags(verb: Verb) -> tuple[Flag, ...]:
    """Give the flags that every verb has; ``-h`` stays free where it means the host name."""
    taken = {flag.short for flag in verb.flags}
    return (HOST, HELP if "h" in taken else GLOBAL_FLAGS[1])


def flags_of(verb: Verb) -> tuple[Flag, ...]:
    """All flags of a verb."""
    return (*verb.flags, *extra_flags(verb))


def every_verb() -> Iterator[tuple[str, Verb]]:
    """Give all commands with their full names; imports them all."""
    for noun, names in COMMANDS.items():
        for name in names:
            yield f"{noun} {name}", _loaded(noun, name)
    for name, (noun, target) in TOP.items():
        yield name, _loaded(noun, target)


def _loaded(noun: str, name: str) -> Verb:
    verb = load(noun, name)
    if verb is None:
        raise LookupError(f"{noun} {name} is in the table of commands but in no module")
    return verb


def render_overview() -> str:
    """What ``nodeagent --help`` prints."""
    verbs = dict(every_verb())
    lines = ["Usage:  nodeagent [OPTIONS] COMMAND", "", "Run containers, networks and volumes.", ""]
    lines += ["Commands:", *(f"  {name:<12}{verbs[name].help}" for name in sorted(TOP))]
    lines += ["", "Management commands:"]
    lines += [f"  {noun:<12}{' '.join(names)}" for noun, names in COMMANDS.items()]
    lines += ["", "The agent itself:"]
    lines += [
        "  serve         --config FILE --root DIR --run DIR [--metrics-listen H:P] [--takeover]",
        "  plugin serve  --driver NAME --root DIR --socket PATH    our volume drivers for dockerd",
    ]
    lines += ["", "Options:", *render_flags(GLOBAL_FLAGS), ""]
    lines += ["Examples:", "  nodeagent run -d --name web -p 8080:80 busybox httpd -f"]
    lines += ["  nodeagent ps -a", "  nodeagent exec -it web sh", ""]
    lines += ["'nodeagent COMMAND --help' tells more about a command."]
    return "\n".join(lines) + "\n"


def render_noun(noun: str) -> str:
    """What ``nodeagent NOUN`` prints."""
    lines = [f"Usage:  nodeagent {noun} COMMAND", "", "Commands:"]
    lines.extend(f"  {name:<12}{_loaded(noun, name).help}" for name in COMMANDS[noun])
    lines += ["", f"'nodeagent {noun} COMMAND --help' tells more about a command."]
    return "\n".join(lines) + "\n"

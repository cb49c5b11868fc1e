"""``run create start attach exec``: commands in containers, with or without somebody at them."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nodeagent.cli.call import WINDOW_ITEMS, Call, CommandFailed, complain, pick
from nodeagent.cli.createflags import CREATE_FLAGS
from nodeagent.cli.detach import DEFAULT_KEYS, parse_keys
from nodeagent.cli.grammar import UsageError, Verb, Words, many, one, several, switch, text
from nodeagent.cli.plan import PLAN_FLAGS, plans, print_plan

if TYPE_CHECKING:
    from nodeagent.cli.createparams import Surroundings
    from nodeagent.cli.session import Seat
    from nodeagent.rpc.sync_client import SyncStream

_DETACH_KEYS: Final = text("detach-keys", "Keys that leave it running", default=DEFAULT_KEYS)
_SIG_PROXY: Final = switch("sig-proxy", "Pass signals on to the process", default=True)
_IMAGE_AND_COMMAND: Final = Words(
    usage="IMAGE [COMMAND] [ARG...]", least=1, most=None, completes="image"
)


def _run(call: Call) -> int:
    if plans(call):
        return print_plan(call, run=_params(call))
    is_detached = call.values.is_on("detach")
    seat = _seat(call, stdin=call.values.is_on("interactive"), tty=call.values.is_on("tty"))
    if not is_detached:
        _check(seat)
    name = _create_container(call)
    if is_detached:
        call.rpc("container.start", name=name)
        print(name)
        return 0
    return _start_attached(call, name, seat)


def _create(call: Call) -> int:
    print(_create_container(call))
    return 0


def _create_container(call: Call) -> str:
    """Make the container, with its image pulled if need be; its id."""
    params = _params(call)
    cidfile = call.values.text("cidfile")
    if cidfile:
        _claim(Path(cidfile))
    _have_image(call)
    made = call.row("container.create", **params)
    warnings = made.get("warnings")
    for warning in warnings if isinstance(warnings, list) else []:
        complain(f"warning: {warning}")
    if cidfile:
        Path(cidfile).write_text(str(made["id"]), encoding="utf-8")
    return str(made["id"])


def _params(call: Call) -> dict[str, object]:
    from nodeagent.cli.createparams import build_create

    return build_create(call.values, call.words, surroundings(call))


def _claim(cidfile: Path) -> None:
    """Make the file before there is a container that it should name."""
    try:
        cidfile.touch(exist_ok=False)
    except FileExistsError as exc:
        said = f"--cidfile: {cidfile} is there already; remove it"
        raise CommandFailed(said, exit_code=125) from exc
    except OSError as exc:
        raise CommandFailed(f"--cidfile: {cidfile}: {exc.strerror}", exit_code=125) from exc


def surroundings(call: Call) -> "Surroundings":
    """Where the command line was typed."""
    from nodeagent.cli.createparams import Surroundings

    return Surroundings(environ=call.environ, cwd=str(Path.cwd()), read_text=read_text)


def read_text(path: str) -> str:
    """Read a file that a flag names.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"cannot read {path}: {exc}") from exc


def _have_image(call: Call) -> None:
    from nodeagent.rpc.errors import RpcError

    policy, ref = call.values.text("pull"), call.words[0]
    if policy == "never":
        return
    if policy == "missing":
        try:
            call.rpc("image.inspect", names=[ref])
        except RpcError as exc:
            if exc.kind != "missing":
                raise
            complain(f"image {ref!r} is not here; pulling it")
        else:
            return
    _pull(call, ref)


def _pull(call: Call, ref: str) -> None:
    """Pull with progress on standard error: standard output belongs to the container."""
    from nodeagent.cli.progress import Progress
    from nodeagent.cli.registry import login_params

    params = {"ref": ref, "platform": call.values.text("platform"), "window": WINDOW_ITEMS}
    params |= login_params(call, ref)
    out = None if call.values.is_on("quiet") else sys.stderr
    with call.client.stream("image.pull", params) as stream:
        Progress(out).show(stream)
        stream.result()


def _seat(call: Call, *, stdin: bool, tty: bool, proxied: str = "") -> "Seat":
    from nodeagent.cli.session import Seat

    def on_signal(number: int) -> None:
        from nodeagent.rpc.errors import RpcError

        # It may have ended just now; then the exit code comes all the same.
        with suppress(RpcError):
            call.rpc("container.kill", name=proxied, signal=str(number))

    keys = parse_keys(call.values.text("detach-keys"))
    passes = bool(proxied) and call.values.is_on("sig-proxy")
    return Seat(tty=tty, stdin=stdin, detach_keys=keys, on_signal=on_signal if passes else None)


def _check(seat: "Seat") -> None:
    from nodeagent.cli.session import check_terminal

    check_terminal(seat)


def _start_attached(call: Call, name: str, seat: "Seat") -> int:
    """Attach, then start, so that no output is lost; the container's exit code."""
    from nodeagent.cli.session import await_ready, sit

    seat = _seat(call, stdin=seat.stdin, tty=seat.tty, proxied=name)
    with _attach_to(call, name, stdin=seat.stdin) as stream:
        await_ready(stream)
        call.rpc("container.start", name=name)
        return _exit_code(sit(stream, seat))


def _attach_to(call: Call, name: str, *, stdin: bool) -> "SyncStream":
    return call.open_stream("container.attach", name=name, stdin=stdin, window=WINDOW_ITEMS)


def _exit_code(result: object) -> int:
    """Read a WaitResult; None says that we left before the end."""
    if not isinstance(result, dict):
        return 0
    if result.get("error"):
        complain(str(result["error"]))
    return pick(result, "exit_code", int)


def _start(call: Call) -> int:
    if not (call.values.is_on("attach") or call.values.is_on("interactive")):
        return call.for_each_word(lambda name: call.rpc("container.start", name=name) and None)
    if len(call.words) > 1:
        raise UsageError("-a and -i take one container")
    config, _ = _look(call, call.words[0])
    stdin = call.values.is_on("interactive") and config["OpenStdin"] is True
    seat = _seat(call, stdin=stdin, tty=config["Tty"] is True)
    _check(seat)
    return _start_attached(call, call.words[0], seat)


def _look(call: Call, name: str) -> tuple[dict[str, object], dict[str, object]]:
    """Config and state of a container."""
    view = call.rows("container.inspect", names=[name])[0]
    return pick(view, "Config", dict), pick(view, "State", dict)


def _attach(call: Call) -> int:
    from nodeagent.cli.session import sit

    name = call.words[0]
    config, state = _look(call, name)
    if not state["Running"]:
        raise CommandFailed(f"{name} does not run; start it: nodeagent start -a {name}")
    stdin = config["OpenStdin"] is True and not call.values.is_on("no-stdin")
    seat = _seat(call, stdin=stdin, tty=config["Tty"] is True, proxied=name)
    _check(seat)
    with _attach_to(call, name, stdin=stdin) as stream:
        return _exit_code(sit(stream, seat))


def _exec(call: Call) -> int:
    from nodeagent.cli.session import sit, terminal_size

    values = call.values
    seat = _seat(call, stdin=values.is_on("interactive"), tty=values.is_on("tty"))
    if not values.is_on("detach"):
        _check(seat)
    params = _exec_params(call)
    if seat.tty and os.isatty(1):
        params["rows"], params["columns"] = terminal_size()
    with call.client.stream("container.exec", params) as stream:
        if values.is_on("detach"):
            stream.result()
            return 0
        return _exit_code(sit(stream, seat))


def _exec_params(call: Call) -> dict[str, object]:
    from nodeagent.cli.createparams import build_env

    values = call.values
    return {
        "name": call.words[0],
        "cmd": call.words[1:],
        "env": build_env(values.list("env-file"), values.list("env"), surroundings(call)),
        "working_dir": values.text("workdir"),
        "user": values.text("user"),
        "tty": values.is_on("tty"),
        "stdin": values.is_on("interactive") and not values.is_on("detach"),
        "privileged": values.is_on("privileged"),
        "detach": values.is_on("detach"),
        "window": WINDOW_ITEMS,
    }


RUN: Final = Verb(
    name="run",
    help="Create and run a new container from an image",
    run=_run,
    flags=(*CREATE_FLAGS, switch("detach", "Run in the background and print the id", "d"),
           _DETACH_KEYS, *PLAN_FLAGS, _SIG_PROXY),
    words=_IMAGE_AND_COMMAND,
    options_first=True,
    failure_code=125,
    examples=(
        "nodeagent run -d --name web -p 8080:80 -v data:/www --network demo busybox httpd -f",
        "nodeagent run --rm -it busybox sh",
        "nodeagent run --rm -m 64m --cpus 1.5 --restart=no busybox md5sum /etc/passwd",
        "nodeagent run -d --health-cmd 'pidof httpd' --on-unhealthy restart busybox httpd -f",
    ),
)  # fmt: skip

VERBS: Final = (
    RUN,
    Verb(
        name="create",
        help="Create a new container; it does not run yet",
        run=_create,
        flags=CREATE_FLAGS,
        words=_IMAGE_AND_COMMAND,
        options_first=True,
        examples=("nodeagent create --name job busybox sleep 60", "nodeagent start -a job"),
    ),
    Verb(
        name="start",
        help="Start stopped containers",
        run=_start,
        flags=(switch("attach", "Show its output and pass signals on", "a"),
               switch("interactive", "Pass standard input on", "i"), _DETACH_KEYS, _SIG_PROXY),
        words=several("CONTAINER", "container"),
        examples=("nodeagent start web db", "nodeagent start -ai shell"),
    ),
    Verb(
        name="attach",
        help="Join the terminal or the pipes of a running container",
        run=_attach,
        flags=(switch("no-stdin", "Pass no input on"), _DETACH_KEYS, _SIG_PROXY),
        words=one("CONTAINER", "container"),
        examples=("nodeagent attach shell", "nodeagent attach --no-stdin web"),
    ),
    Verb(
        name="exec",
        help="Run a command in a running container",
        run=_exec,
        flags=(
            switch("detach", "Run in the background", "d"),
            _DETACH_KEYS,
            many("env", "Set NAME=VALUE, or pass NAME on from here", "e"),
            many("env-file", "Read environment variables from a file", completes="file"),
            switch("interactive", "Keep standard input open", "i"),
            switch("privileged", "All capabilities"),
            switch("tty", "Give it a terminal", "t"),
            text("user", "User name or id, and group: USER[:GROUP]", "u"),
            text("workdir", "Working directory", "w"),
        ),
        words=Words(usage="CONTAINER COMMAND [ARG...]", least=2, most=None, completes="container"),
        options_first=True,
        examples=("nodeagent exec -it web sh", "nodeagent exec -e A=1 web env"),
    ),
)  # fmt: skip

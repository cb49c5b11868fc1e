"""``login logout push save``: images on their way to somewhere else."""

import getpass
import sys
from typing import Final

from nodeagent.cli.call import WINDOW_ITEMS, Call, complain, pick
from nodeagent.cli.credentials import HUB, CredentialStore, Login, plain_server, server_of
from nodeagent.cli.files import receive, save_to, write_all
from nodeagent.cli.grammar import UsageError, Verb, Words, one, several, switch, text
from nodeagent.cli.output import put
from nodeagent.cli.progress import Progress


def login_params(call: Call, ref: str) -> dict[str, object]:
    """The parameter of a call that asks the registry of an image, if there is a login for it."""
    found = CredentialStore(call.environ).find(server_of(ref))
    return {"login": found} if found else {}


def _login(call: Call) -> int:
    server = plain_server(call.words[0] if call.words else HUB)
    store = CredentialStore(call.environ)
    login = _ask(call, store, server)
    call.rpc("image.login", server=server, login=login)
    where = store.store(server, login)
    complain(f"the login is kept in {where}")
    put("Login Succeeded\n")
    return 0


def _ask(call: Call, store: CredentialStore, server: str) -> Login:
    """The login from flags, from standard input, or from whoever sits there."""
    values = call.values
    user, password = values.text("username"), values.text("password")
    if password:
        complain("--password is seen by everybody on this machine; use --password-stdin")
    if values.is_on("password-stdin"):
        if password or not user:
            raise UsageError("--password-stdin: give --username, and no --password")
        password = sys.stdin.readline().rstrip("\r\n")
    if not (user and password) and not sys.stdin.isatty():
        raise UsageError("standard input is no terminal: give --username and --password-stdin")
    known = store.find(server) if not user else None
    if not user:
        offered = f" ({known['user']})" if known else ""
        user = input(f"Username{offered}: ") or (known["user"] if known else "")
    password = password or getpass.getpass("Password: ")
    if not user or not password:
        raise UsageError("a username and a password are needed")
    return Login(user=user, password=password)


def _logout(call: Call) -> int:
    server = plain_server(call.words[0] if call.words else HUB)
    if CredentialStore(call.environ).erase(server):
        put(f"Removing login credentials for {server}\n")
    else:
        put(f"Not logged in to {server}\n")
    return 0


def _push(call: Call) -> int:
    ref = call.words[0]
    if not call.values.is_on("all-tags"):
        _push_one(call, ref)
        return 0
    if ":" in ref.rpartition("/")[2] or "@" in ref:
        raise UsageError("--all-tags: give the name without a tag")
    rows = call.rows("image.ls", filters={"reference": [ref]})
    if not rows:
        raise UsageError(f"{ref}: there is no image of that name")
    for row in rows:
        _push_one(call, f"{ref}:{row['Tag']}")
    return 0


def _push_one(call: Call, ref: str) -> None:
    is_quiet = call.values.is_on("quiet")
    progress = Progress(None if is_quiet else sys.stdout)
    login = login_params(call, ref)
    with call.open_stream("image.push", ref=ref, window=WINDOW_ITEMS, **login) as stream:
        progress.show(stream)
        digest = pick(stream.result_as(dict[str, object]), "digest", str)
    put(f"{ref}\n" if is_quiet else f"{ref}: digest: {digest}\n")


def _save(call: Call) -> int:
    output = call.values.text("output")
    with call.open_stream("image.save", names=call.words, window=WINDOW_ITEMS) as stream:
        if output:
            save_to(output, receive(stream))
        else:
            write_all(receive(stream), sys.stdout.buffer)
    return 0


VERBS: Final = (
    Verb(
        name="login",
        help="Log in to a registry",
        run=_login,
        flags=(
            text("username", "User name", "u"),
            text("password", "Password; better on standard input", "p"),
            switch("password-stdin", "Take the password from standard input"),
        ),
        words=Words(usage="[SERVER]", most=1),
        notes=(
            "The login is kept in Docker's config.json, or by the credential helper named there.",
            "Without SERVER: Docker Hub.",
        ),
        examples=("nodeagent login -u me --password-stdin localhost:5000 < password",),
    ),
    Verb(
        name="logout",
        help="Forget the login to a registry",
        run=_logout,
        words=Words(usage="[SERVER]", most=1),
        examples=("nodeagent logout localhost:5000",),
    ),
    Verb(
        name="push",
        help="Bring an image to the registry of its name",
        run=_push,
        flags=(
            switch("all-tags", "All tags of that name", "a"),
            switch("quiet", "No progress", "q"),
        ),
        words=one("NAME[:TAG]", "image"),
        examples=(
            "nodeagent tag busybox localhost:5000/busybox:v1",
            "nodeagent push localhost:5000/busybox:v1",
        ),
    ),
    Verb(
        name="save",
        help="Write images as an archive, for load here or docker load elsewhere",
        run=_save,
        flags=(text("output", "File to write instead of standard output", "o", completes="file"),),
        words=several("IMAGE", "image"),
        examples=("nodeagent save -o both.tar web:v1 db:v2", "nodeagent save web | gzip > web.tgz"),
    ),
)

"""``cluster init join leave info token cert``."""

from pathlib import Path
from typing import Final

from nodeagent.cli.call import Call, pick
from nodeagent.cli.grammar import Verb, number, one, switch, text
from nodeagent.cli.output import FORMAT, print_object, put
from nodeagent.cli.system import info_lines

ADDRESS: Final = text("advertise-addr", "Address of this host that the others use")


def _init(call: Call) -> int:
    made = call.row("cluster.init", advertise_addr=call.values.text("advertise-addr"))
    token = call.row("cluster.token", role="worker")
    info = call.row("cluster.info")
    put(
        f"This agent is now a manager of a new cluster, as node {made['id']}.\n"
        "To add a worker, run on that host:\n\n"
        f"    nodeagent cluster join --token {token['text']} {info['Address']}:2377\n\n"
        "To add a manager, see: nodeagent cluster token manager\n"
    )
    return 0


def _join(call: Call) -> int:
    made = call.row(
        "cluster.join",
        token=call.values.text("token"),
        remote=call.words[0],
        advertise_addr=call.values.text("advertise-addr"),
    )
    put(f"This agent joined the cluster as a {made['name']}.\n")
    return 0


def _leave(call: Call) -> int:
    call.rpc("cluster.leave", force=call.values.is_on("force"))
    put("This agent left the cluster.\n")
    return 0


def _info(call: Call) -> int:
    info = call.row("cluster.info")
    return print_object(info, call.values.text("format"), lambda: info_lines(info))


def _token(call: Call) -> int:
    found = call.row("cluster.token", role=call.words[0], rotate=call.values.is_on("rotate"))
    put(f"{pick(found, 'text', str)}\n")
    return 0


def _cert(call: Call) -> int:
    found = call.row(
        "cluster.certificate",
        name=call.words[0],
        role=call.values.text("role"),
        days=call.values.number("days"),
    )
    folder = Path(call.values.text("out"))
    folder.mkdir(parents=True, exist_ok=True)
    for field, name in (("authority", "ca.pem"), ("certificate", "cert.pem"), ("key", "key.pem")):
        path = folder / name
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(pick(found, field, str), encoding="ascii")
        put(f"{path}\n")
    return 0


def _renew(call: Call) -> int:
    call.rpc("cluster.renew")
    put("This node has a new certificate.\n")
    return 0


VERBS: Final = (
    Verb(
        name="renew",
        help="Renew this node's certificate now; else that is done after two thirds of its life",
        run=_renew,
        examples=("nodeagent cluster renew",),
    ),
    Verb(
        name="init",
        help="Begin a cluster with this agent as its first manager",
        run=_init,
        flags=(ADDRESS,),
        notes=("A manager keeps the cluster's state in etcd: install etcd-server first.",),
        examples=("nodeagent cluster init --advertise-addr 192.0.2.1",),
    ),
    Verb(
        name="join",
        help="Enter a cluster, as worker or manager as the token says",
        run=_join,
        flags=(text("token", "Join token, from `cluster token` on a manager"), ADDRESS),
        words=one("HOST:PORT"),
        examples=("nodeagent cluster join --token NAT-1-… 192.0.2.1:2377",),
    ),
    Verb(
        name="leave",
        help="Leave the cluster",
        run=_leave,
        flags=(switch("force", "Also as the last manager, or if the others cannot be asked", "f"),),
        examples=("nodeagent cluster leave",),
    ),
    Verb(
        name="info",
        help="This agent's place in a cluster",
        run=_info,
        flags=(FORMAT,),
        examples=("nodeagent cluster info", "nodeagent cluster info --format '{{.Role}}'"),
    ),
    Verb(
        name="token",
        help="Print the join token of a role",
        run=_token,
        flags=(switch("rotate", "Make a new one; the former admits nobody any more"),),
        words=one("worker|manager"),
        examples=("nodeagent cluster token worker", "nodeagent cluster token --rotate manager"),
    ),
    Verb(
        name="cert",
        help="Make a certificate for a program that speaks to agents by TCP",
        run=_cert,
        flags=(
            text("role", "admin, operator or reader", default="reader"),
            number("days", "How long it is good", default=90),
            text("out", "Folder for ca.pem, cert.pem and key.pem", default="."),
        ),
        words=one("NAME"),
        examples=("nodeagent cluster cert orchestrator --role operator --out /etc/orchestrator",),
    ),
)

"""``cluster init join leave info token cert renew backup restore recover``."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nodeagent.cli.call import WINDOW_ITEMS, Call, CommandFailed, Row, as_row, pick
from nodeagent.cli.files import receive, save_to
from nodeagent.cli.grammar import UsageError, Verb, number, one, switch, text
from nodeagent.cli.image import open_input
from nodeagent.cli.output import FORMAT, print_object, put, render_list
from nodeagent.cli.system import info_lines

SECRET_MODE: Final = 0o600
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


STAGES: Final = {
    "none": "The cluster has the authority that it was founded with.",
    "both": "1 of 3: every node comes to trust both authorities.",
    "new": "2 of 3: every node gets a certificate of the new authority.",
    "done": "3 of 3: only the new authority is trusted.",
}


def _ca(call: Call) -> int:
    if call.words[0] not in {"rotate", "status"}:
        raise UsageError("expected `cluster ca rotate` or `cluster ca status`")
    found = call.row("cluster.rotate" if call.words[0] == "rotate" else "cluster.rotation")
    put(f"{STAGES[pick(found, 'Stage', str)]}\n")
    if waits := pick(found, "WaitsFor", list):
        put(f"Waits for: {', '.join(waits)}\n")
    return 0


def _renew(call: Call) -> int:
    call.rpc("cluster.renew")
    put("This node has a new certificate.\n")
    return 0


def _backup(call: Call) -> int:
    output = call.words[0]
    digest = hashlib.sha256()

    def hashed(chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            digest.update(chunk)
            yield chunk

    with call.open_stream("cluster.backup", window=WINDOW_ITEMS) as stream:
        save_to(output, hashed(receive(stream)), SECRET_MODE)
        taken = as_row(stream.result())
    if pick(taken, "Sha256", str) != digest.hexdigest():
        Path(output).unlink()
        raise CommandFailed(f"{output}: what arrived is not what was sent")
    put(
        f"{output}: {taken['Rows']} rows of cluster {taken['Cluster']} as of revision "
        f"{taken['Revision']}.\nIt holds the cluster's secrets: keep it as you keep keys.\n"
    )
    return 0


def _restore(call: Call) -> int:
    is_sure = call.values.is_on("yes")
    with (
        open_input(call.words[0]) as fd,
        call.open_stream(
            "cluster.restore",
            advertise_addr=call.values.text("advertise-addr"),
            dry_run=not is_sure,
        ) as stream,
    ):
        stream.interact(lambda _item: None, stdin_fd=fd)
        found = as_row(stream.result())
    put(
        f"Cluster {found['Cluster']} as of {found['Taken']}, revision {found['Revision']}: "
        f"{found['Nodes']} nodes, {found['Networks']} networks, {found['Endpoints']} endpoints.\n"
    )
    workers = ", ".join(pick(found, "BecomeWorkers", list)) or "none"
    if is_sure:
        put(f"This agent is its one manager now. Managers that are workers now: {workers}.\n")
        return 0
    put(
        "With --yes this agent becomes its one manager. What was changed since then is lost.\n"
        f"Managers of then that become workers, and can be promoted again: {workers}.\n"
        "Make sure that no manager of the cluster runs with what it had before.\n"
    )
    return 0


MANAGER_COLUMNS: Final = (
    ("NODE", "NodeId"), ("HOSTNAME", "Name"), ("ADDRESS", "Address"), ("ANSWERS", "Answers"),
    ("REVISION", "Revision"), ("TERM", "Term"),
)  # fmt: skip


def _recover(call: Call) -> int:
    is_sure = call.values.is_on("yes")
    found = call.row("cluster.recover", dry_run=not is_sure)
    managers: list[Row] = pick(found, "Managers", list)
    put(render_list(managers, MANAGER_COLUMNS, "table"))
    if is_sure:
        put(
            "This manager goes on alone; the others are workers now, and follow when they are up.\n"
        )
        return 0
    if found["Quorum"]:
        put("More than half of the managers are up: there is nothing to recover.\n")
        return 0
    put(
        f"With --yes this manager goes on alone from revision {managers[0]['Revision']}: what only "
        "others have seen is lost.\nThe others become workers: those that are up follow by "
        "themselves, and can be promoted again; remove the rest with `node rm`.\n"
    )
    for each in pick(found, "Advice", list):
        put(f"- {each}\n")
    return 0


VERBS: Final = (
    Verb(
        name="backup",
        help="Write the cluster's state to a file, as of one moment",
        run=_backup,
        words=one("FILE"),
        notes=(
            "Nodes, networks, endpoints, addresses, join tokens and the authority with its key: "
            "whoever has the file is the cluster. Containers and volumes are not in it.",
        ),
        examples=("nodeagent cluster backup /root/cluster-2026-11-27",),
    ),
    Verb(
        name="restore",
        help="Begin the cluster anew from a backup, with this agent as its one manager",
        run=_restore,
        flags=(ADDRESS, switch("yes", "Do it; else it is only said what would be", "y")),
        words=one("FILE"),
        notes=(
            "For a cluster whose managers have all lost their state. Workers follow if this agent "
            "has the address of a manager of before.",
        ),
        examples=(
            "nodeagent cluster restore cluster-2026-11-27",
            "nodeagent cluster restore --yes --advertise-addr 192.0.2.1 cluster-2026-11-27",
        ),
    ),
    Verb(
        name="ca",
        help="Replace the cluster's authority by a new one, or say how that stands",
        run=_ca,
        words=one("rotate|status"),
        notes=(
            "It goes on by itself, without a restart of agents or containers; managers start their "
            "store anew, one after the other. It waits for nodes that are down: bring them back, "
            "or remove them with `node rm`.",
            "Join tokens of before are good for nobody then, nor are certificates of programs: "
            "make new ones with `cluster token` and `cluster cert`.",
        ),
        examples=("nodeagent cluster ca rotate", "nodeagent cluster ca status"),
    ),
    Verb(
        name="recover",
        help="Go on with this manager alone, when more than half of them are lost for ever",
        run=_recover,
        flags=(switch("yes", "Do it; else it is only said what would be lost", "y"),),
        examples=("nodeagent cluster recover", "nodeagent cluster recover --yes"),
    ),
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

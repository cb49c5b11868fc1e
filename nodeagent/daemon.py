"""The composition root: the only place that names concrete classes and starts tasks."""

import argparse
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import trio

from netdrivers.dns.server import DnsServer
from netdrivers.keep import Wanted
from netdrivers.registry import load_drivers as load_network_drivers
from nodeagent.building import NetworkSide, build_shared, open_parts
from nodeagent.config import Config, load_config
from nodeagent.control.addresses import Addresses
from nodeagent.control.attachments import Attachments
from nodeagent.control.audit import Auditor
from nodeagent.control.auditlog import AuditLog, open_audit
from nodeagent.control.conflicts import Conflicts
from nodeagent.control.containers import Containers
from nodeagent.control.explaining import Explaining
from nodeagent.control.files import ContainerFiles
from nodeagent.control.following import Follower
from nodeagent.control.hostinfo import read_addresses
from nodeagent.control.imaging import Imaging
from nodeagent.control.lifecycle import Lifecycle
from nodeagent.control.logs import LogKeeper
from nodeagent.control.netinspect import NetworkInspector
from nodeagent.control.networks import Networks
from nodeagent.control.nodes import Nodes
from nodeagent.control.parts import Parts
from nodeagent.control.planning import Planner
from nodeagent.control.pruning import Pruner
from nodeagent.control.quiescing import Quiescing
from nodeagent.control.reconcile import Reconciler
from nodeagent.control.repair import Repairer
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.control.shipping import Shipping
from nodeagent.control.sizes import Sizes
from nodeagent.control.startup import Startup
from nodeagent.control.streams import Streams
from nodeagent.control.system import VERSION, System
from nodeagent.control.times import build_time
from nodeagent.control.updating import Updater
from nodeagent.control.volumecopies import VolumeCopies
from nodeagent.control.volumefence import VolumeFence
from nodeagent.control.volumekeeper import VolumeKeeper
from nodeagent.control.volumes import Volumes
from nodeagent.control.volumestreams import VolumeStreams
from nodeagent.control.volumeuse import VolumeUse
from nodeagent.errors import AgentError, kind_of
from nodeagent.logs import set_up_logs
from nodeagent.metrics.observed import Observed
from nodeagent.metrics.server import serve_metrics
from nodeagent.model.audit import AuditEntry
from nodeagent.notify import Notifier
from nodeagent.rpc.auth import bound_name
from nodeagent.rpc.bindings.table import build_table
from nodeagent.rpc.bindings.usecases import UseCases
from nodeagent.rpc.server import (
    Done,
    Entrance,
    Limits,
    Options,
    Server,
    build_server,
    log_change,
    serve_rpc,
)
from nodeagent.rpc.tcp import TcpEntrance
from nodeagent.state.auditfile import AuditFile
from nodeagent.takeover.lives import Left, Place, Start, live
from runtime.files.within import RootFiles
from runtime.logs.sinks import open_sink

log = logging.getLogger(__name__)


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Flags of ``nodeagent serve``; they override the configuration file."""
    parser = argparse.ArgumentParser(
        prog="nodeagent serve",
        description="Run the agent.",
        epilog="Example, to bring a running agent to a new version or configuration:"
        " nodeagent serve --config /etc/nodeagent/nodeagent.toml --takeover",
    )
    parser.add_argument("--config", type=Path, default=None, help="TOML file")
    parser.add_argument("--root", type=Path, default=None, help="data (default /var/lib/nodeagent)")
    parser.add_argument("--run", type=Path, default=None, help="run time (default /run/nodeagent)")
    parser.add_argument("--metrics-listen", default=None, help="HOST:PORT, or empty for none")
    parser.add_argument(
        "--takeover",
        action="store_true",
        help="replace the running agent without a lost query or connection; without one, start",
    )
    parser.add_argument("--log-level", default=None, help="debug, info, warning or error")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Run the agent until SIGTERM or SIGINT; the exit code."""
    args = parse_args(argv)
    try:
        config = load_config(
            args.config, root=args.root, run=args.run, metrics_listen=args.metrics_listen,
            log_level=args.log_level,
        )  # fmt: skip
    except AgentError as exc:
        sys.stderr.write(f"nodeagent: {exc}\n")
        return 2
    set_up_logs(level=config.log.level, format=config.log.format)
    failed = False
    try:
        trio.run(partial(serve, config, takeover=args.takeover))
    except* Exception as group:
        failed = True
        for leaf in _leaves(group):
            trace = None if kind_of(leaf) else leaf  # what we foresaw needs no traceback
            log.error("the agent cannot go on", exc_info=trace, extra={"error": str(leaf)})
    return int(failed)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for exc in group.exceptions:
        if isinstance(exc, BaseExceptionGroup):
            yield from _leaves(exc)
        else:
            yield exc


async def serve(config: Config, *, takeover: bool = False) -> None:
    """Build everything, converge, serve, until a signal or a successor; containers run on.

    Args:
        takeover: take over from the running agent, if there is one.
    """
    notifier = Notifier(os.environ)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on, signals, nursery.cancel_scope)
            once = partial(_live_once, config, notifier, nursery)
            await live(once, Place(root=config.root, run=config.run), nursery, takeover=takeover)
            nursery.cancel_scope.cancel()
        notifier.tell("STOPPING=1")
    log.info("stopped, containers run on")


async def _stop_on(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for number in signals:
        log.info("stopping", extra={"signal": signal.Signals(number).name})
        scope.cancel()
        return


@dataclass(frozen=True, slots=True, kw_only=True)
class _Life:
    """The agent from what was left to it to its stop or its successor."""

    config: Config
    notifier: Notifier
    start: Start
    names: DnsServer


async def _live_once(
    config: Config, notifier: Notifier, nursery: trio.Nursery, start: Start
) -> Left:
    """Serve until there is a successor; then all is stopped but the names, in ``nursery``."""
    names = DnsServer(keep=start.keep)
    nursery.start_soon(names.run)
    life = _Life(config=config, notifier=notifier, start=start, names=names)
    async with (
        open_parts(config, names, start.keep) as parts,
        open_audit(_audit_file(config), parts.now) as audit,
        trio.open_nursery() as inner,
    ):
        entrance = await _run(life, parts, inner, audit)
        successor = await start.door.wait_asked()
        log.info("handing over", extra={"to": successor.pid, "version": successor.version})
        stopped_s = time.monotonic()
        await entrance.hand_on()
        with entrance.listener:
            copies = start.keep.copies()
        inner.cancel_scope.cancel()
    return Left(successor=successor, fds=copies, stopped_s=stopped_s, drain=names.drain)


def _audit_file(config: Config) -> AuditFile:
    return AuditFile(
        config.root / "audit",
        max_bytes=config.log.audit_max_bytes,
        max_files=config.log.audit_max_files,
    )


async def _run(life: _Life, parts: Parts, nursery: trio.Nursery, audit: AuditLog) -> Entrance:
    """Start what is needed in the order of need; RPC comes last, when all else is up."""
    config = life.config
    sandboxes = Sandboxes(parts)
    repairer = Repairer(parts, sandboxes)
    addresses = Addresses(parts.inventory, read_addresses)
    volumes = Volumes(parts, VolumeUse(parts))
    containers = Containers(parts, sandboxes, addresses, volumes)
    streams = Streams(parts, sandboxes, containers)
    lifecycle = Lifecycle(parts, sandboxes, containers, volumes, nursery, streams.at_gate)
    shipping = Shipping(parts, open_sink, nursery, host=os.uname().nodename)
    lifecycle.ship_rest = shipping.finish
    networks = Networks(parts, sandboxes, load_network_drivers())
    imaging, conflicts = Imaging(parts), Conflicts(parts)
    attachments = Attachments(parts, sandboxes, containers, lifecycle)
    auditor = Auditor(parts, sandboxes, addresses, repairer)
    shared = build_shared(config, nursery, NetworkSide(parts, sandboxes, addresses, networks))
    copies, files = VolumeCopies(parts, volumes), RootFiles()
    keeper, sizes = VolumeKeeper(parts, copies), Sizes(parts)
    use = UseCases(
        attachments=attachments,
        audit=audit,
        auditor=auditor,
        cluster=shared.cluster,
        containers=containers,
        explaining=Explaining(parts, sandboxes),
        files=ContainerFiles(parts, containers, volumes, lifecycle, files),
        lifecycle=lifecycle,
        imaging=imaging,
        inspector=NetworkInspector(parts, sandboxes, addresses, conflicts),
        membership=shared.membership,
        cluster_backups=shared.backups,
        rotation=shared.rotation,
        networks=networks,
        nodes=Nodes(shared.cluster),
        planner=Planner(parts, sandboxes, containers, networks, attachments),
        pruner=Pruner(parts, lifecycle, sizes),
        repairer=repairer,
        sandboxes=sandboxes,
        sizes=sizes,
        streams=streams,
        system=System(parts, imaging, volumes, sizes, containers),
        updater=Updater(parts, containers),
        volumes=volumes,
        copies=copies,
        quiescing=Quiescing(parts, copies),
        volume_fence=shared.volume_fence,
        volume_keeper=keeper,
        volume_streams=VolumeStreams(parts, copies, files),
    )
    observed = Observed(parts, sandboxes, streams, volumes, addresses)
    observed.conflicts_of, observed.count_leaks = conflicts.of, auditor.count
    observed.overlays, use.inspector.peers_of = shared.overlays, shared.overlays.peers
    use.inspector.clear_of = shared.overlays.seen_clear
    observed.health_of, observed.probe_counts = containers.health_of, lifecycle.probe_counts
    observed.end_counts = lifecycle.end_counts
    observed.is_paused, observed.is_restarting = containers.is_paused, containers.is_restarting
    if config.metrics.listen:
        await nursery.start(_serve_metrics, life, observed)
    nursery.start_soon(parts.engine.run)
    await _open_fence(shared.volume_fence, volumes.use, lifecycle)
    startup = Startup(parts, sandboxes, lifecycle, networks, copies, repairer)
    await startup.run()
    follower = Follower(parts, sandboxes, lifecycle.step)
    nursery.start_soon(Reconciler(parts, repairer, conflicts, follower.wake).run)
    observed.logs, observed.shipments = LogKeeper(parts), shipping.shipments
    await shared.cluster.open()
    tasks = (follower.run, sandboxes.follow_resolvers, volumes.use.run, keeper.run)
    for task in (*tasks, *shared.tasks, observed.logs.run, shipping.run):
        nursery.start_soon(task)
    entrance = await _open_doors(life, parts, nursery, use, observed)
    nursery.start_soon(startup.start_by_policy)
    return entrance


async def _open_fence(fence: VolumeFence, use: VolumeUse, lifecycle: Lifecycle) -> None:
    """Before containers are looked at: what ended meanwhile gives its volumes back."""
    use.fence = fence
    fence.is_idle, fence.note_paused = use.is_idle, lifecycle.note_paused
    fence.unpause = lifecycle.unpause
    await fence.open()


async def _open_doors(
    life: _Life, parts: Parts, nursery: trio.Nursery, use: UseCases, observed: Observed
) -> Entrance:
    """Let clients in, and say so."""
    entrance, server = _open_entrance(life), _build_server(life.config, use, observed)
    await nursery.start(serve_rpc, entrance, server)
    nursery.start_soon(_serve_cluster, life.config, use, server, observed)
    await _succeed(life, parts, observed)
    observed.is_ready = True
    life.notifier.tell("READY=1", "STATUS=serving")
    nursery.start_soon(life.notifier.feed_watchdog)
    log.info("ready", extra={"socket": str(entrance.path)})
    return entrance


async def _succeed(life: _Life, parts: Parts, observed: Observed) -> None:
    """Everything is taken over: say so, and let the former agent go."""
    unused = life.start.keep.close_untaken()
    before = life.start.before
    gap_s = time.monotonic() - before.stopped_s
    await before.give_word()
    if before.stopped_s:
        sockets = len(before.fds) - len(unused)
        told = {"gap_ms": f"{gap_s * 1e3:.0f}", "sockets": str(sockets), "unused": str(len(unused))}
        observed.note_takeover(gap_s, sockets)
        parts.events.publish("agent", "takeover", "", "", **told)
        log.info("took over", extra=told)


def _open_entrance(life: _Life) -> Entrance:
    path = life.config.run / "nodeagent.sock"
    wanted = Wanted(type=socket.SOCK_STREAM, address=bound_name(path), listens=True)
    entrance = Entrance(
        path, group=life.config.rpc.group, listener=life.start.keep.take("rpc", wanted)
    )
    life.start.keep.put("rpc", entrance.listener.fileno())
    return entrance


async def _serve_metrics(
    life: _Life, observed: Observed, task_status: trio.TaskStatus[None]
) -> None:
    host, _, text = life.config.metrics.listen.rpartition(":")
    host, port = host.strip("[]"), int(text)
    wanted = Wanted(type=socket.SOCK_STREAM, address=(host, port), listens=True)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(
            partial(
                serve_metrics,
                host,
                port,
                render=observed.render,
                ready=observed.reasons,
                listener=life.start.keep.take("metrics", wanted),
            )
        )
        life.start.keep.put("metrics", listener.socket.fileno())
        task_status.started()


def _build_server(config: Config, use: UseCases, observed: Observed) -> Server:
    limits = Limits(
        max_frame_bytes=config.rpc.max_frame_bytes, max_connections=config.rpc.max_connections
    )
    use.audit.on_lost = observed.note_unaudited
    options = Options(
        limits=limits, version=VERSION, observe=observed.observe_call,
        observe_role=observed.observe_role, audit=partial(_note_change, use.audit),
    )  # fmt: skip
    return build_server(build_table(use), options)


def _note_change(audit: AuditLog, done: Done) -> None:
    log_change(done)
    peer = done.peer
    audit.note(
        AuditEntry(
            time=build_time(audit.now()), method=done.method, target=done.target,
            outcome=done.outcome, seconds=round(done.seconds, 6),
            who=peer.name or (peer.address and "nobody") or f"uid:{peer.uid}", role=peer.role,
            address=peer.address, uid=peer.uid, gid=peer.gid, pid=peer.pid,
        )
    )  # fmt: skip


async def _serve_cluster(
    config: Config, use: UseCases, server: Server, observed: Observed
) -> NoReturn:
    """Serve other nodes by TCP, as long as this agent is of a cluster."""
    cluster, now = use.cluster, use.audit.now
    while True:
        await cluster.wait_active()
        entrance = TcpEntrance(server, cluster.server_context, now, observed.observe_meeting)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(entrance.serve, cluster.identity.address, config.cluster.rpc_port)
            await cluster.ended.wait()
            nursery.cancel_scope.cancel()

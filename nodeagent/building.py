"""What an agent is built of: with the daemon, the only place that names concrete classes."""

import resource
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from netdrivers.contract.names import NameServer
from netdrivers.encryption.wireguard import Place as WireGuardPlace
from netdrivers.encryption.wireguard import WireGuard
from netdrivers.engine import Engine
from netdrivers.keep import Keep
from nodeagent.config import Config
from nodeagent.control.addresses import Addresses
from nodeagent.control.cluster import Cluster
from nodeagent.control.clusterbackup import ClusterBackups
from nodeagent.control.clusternets import ClusterNetworks
from nodeagent.control.configured import build_settings
from nodeagent.control.eventkeeper import open_events
from nodeagent.control.inventory import Inventory
from nodeagent.control.membership import Membership
from nodeagent.control.networks import Networks
from nodeagent.control.overlays import Overlays
from nodeagent.control.parts import Parts
from nodeagent.control.rotation import Rotation
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.control.standing import Standing
from nodeagent.control.storemember import ClusterPorts
from nodeagent.control.volumefence import VolumeFence
from nodeagent.rpc.tcp import ask_agent
from nodeagent.state.leases import Leases
from nodeagent.state.sqlite import open_store
from runtime.container.fencing import WatchdogFence
from runtime.container.lifecycle import ContainerRuntime
from runtime.idmounts import IdMounts
from runtime.image.http import HttpOptions
from runtime.image.origin import split_url
from runtime.image.registry import RegistryOptions
from runtime.image.store import ImageStore
from runtime.image.untar import Limits as ImageLimits
from runtime.rootfs import OverlayRoots
from runtime.sharedmemory import TmpfsMemory
from voldrivers.backup import TreeBackups
from voldrivers.copyup import TreeCopyUp
from voldrivers.registry import DriverSet
from voldrivers.registry import load_drivers as load_volume_drivers
from voldrivers.subpath import Subpaths

CLOSE_S: Final = 5.0  # for the ways to the kernel to be closed; a guess


@asynccontextmanager
async def open_parts(config: Config, names: NameServer, keep: Keep) -> AsyncIterator[Parts]:
    """The rooms that use cases work with, open while the block runs."""
    open_files = _raise_open_files()
    clock = time.time  # noqa: TID251  the one clock, handed to everybody
    async with (
        open_store(config.root / "state.db", synchronous=config.state.synchronous) as store,
        open_events(config.root / "events", clock) as events,
    ):
        inventory = Inventory(store)
        await inventory.load()
        leases = Leases(store)
        await leases.load()
        engine = Engine(config.run, agent_id=config.agent_id, keep=keep)
        runtime = ContainerRuntime(
            config.root,
            config.run,
            cgroup_parent=config.container.cgroup_parent,
            runtime=config.container.runtime,
        )
        await engine.open()
        try:
            await runtime.open()
            yield Parts(
                settings=build_settings(config, open_files),
                inventory=inventory,
                events=events,
                images=_images(config),
                roots=OverlayRoots(config.root),
                runtime=runtime,
                engine=engine,
                names=names,
                volume_drivers=_volume_drivers(config),
                leases=leases,
                copy_up=TreeCopyUp(),
                part_mounts=Subpaths(config.run),
                shared_memory=TmpfsMemory(config.run),
                mapped_mounts=IdMounts(config.run),
                backups=TreeBackups(),
                now=clock,
                new_id=lambda: secrets.token_hex(32),
            )
        finally:
            with trio.move_on_after(CLOSE_S, shield=True):
                await engine.close()


def _images(config: Config) -> ImageStore:
    image = config.image
    http = HttpOptions(
        ca_file=Path(image.ca_file) if image.ca_file else None,
        ca_folders=[Path(each) for each in image.certificate_folders],
    )
    mirrors = [split_url(each)[0] for each in image.mirrors]
    return ImageStore(
        config.root,
        limits=ImageLimits(
            stream_bytes=image.max_unpacked_bytes,
            file_bytes=image.max_unpacked_bytes,
        ),
        registry=RegistryOptions(http=http, mirrors=mirrors),
    )


def _volume_drivers(config: Config) -> DriverSet:
    return load_volume_drivers(config.root, [Path(each) for each in config.volume.plugin_folders])


def _raise_open_files() -> tuple[int, int]:
    """A published port is a descriptor: have as many as allowed. Returns the limits before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, hard


@dataclass(frozen=True, slots=True)
class NetworkSide:
    """Use cases that networks of several hosts change."""

    parts: Parts
    sandboxes: Sandboxes
    addresses: Addresses
    networks: Networks


@dataclass(frozen=True, slots=True)
class SharedSide:
    """This agent's part in a cluster, and the tasks that keep it."""

    cluster: Cluster
    overlays: Overlays
    membership: Membership
    backups: ClusterBackups
    volume_fence: VolumeFence
    rotation: Rotation
    tasks: tuple[Callable[[], Awaitable[object]], ...]


def build_shared(config: Config, nursery: trio.Nursery, side: NetworkSide) -> SharedSide:
    """What joins this agent to others: nothing of it does anything outside a cluster."""
    wireguard = _wireguard(config, side.parts)
    ports = ClusterPorts(
        rpc=config.cluster.rpc_port,
        client=config.cluster.store_port,
        peer=config.cluster.store_peer_port,
        wireguard=config.cluster.wireguard_port,
        vxlan=config.cluster.vxlan_port,
    )
    cluster = Cluster(side.parts, nursery, ports, wireguard, ask_agent)
    networks = side.addresses.claims = side.networks.shared = ClusterNetworks(side.parts, cluster)
    overlays = Overlays(side.parts, side.sandboxes, side.addresses, cluster, networks)
    side.sandboxes.prepare, side.sandboxes.told = overlays.prepare, overlays.wake
    cluster.changed.append(overlays.wake)
    membership, rotation = Membership(side.parts, cluster), Rotation(side.parts, cluster)
    watchdog = WatchdogFence(config.run, cgroup_parent=config.container.cgroup_parent)
    fence = VolumeFence(side.parts, cluster, watchdog, config.cluster.volume_lease_s)
    return SharedSide(
        cluster=cluster,
        overlays=overlays,
        membership=membership,
        backups=ClusterBackups(side.parts, cluster, membership.changing),
        volume_fence=fence,
        rotation=rotation,
        tasks=(
            overlays.run,
            wireguard.run,
            wireguard.watch,
            rotation.run,
            Standing(side.parts, cluster).run,
            fence.run,
        ),
    )


def _wireguard(config: Config, parts: Parts) -> WireGuard:
    place = WireGuardPlace(
        key_file=config.root / "network" / "wireguard.key",
        run=config.run,
        agent_id=config.agent_id,
        port=config.cluster.wireguard_port,
        kernel=config.cluster.kernel_wireguard,
    )
    return WireGuard(
        place,
        on_change=lambda what: parts.events.publish("network", "encryption", "", "", what=what),
    )

"""Volumes as clients see them. No I/O."""

from nodeagent.control.parts import Parts
from nodeagent.control.volumefence import VolumeFence, is_shared
from nodeagent.control.volumeuse import spec
from nodeagent.errors import Invalid
from nodeagent.model.volume import LeaseView, VolumeRecord, VolumeRow, VolumeUsageView, VolumeView
from voldrivers.contract import VolumeHealth, VolumeUsage

KINDS = ("volume", "snapshot", "removed")
FILTERS = ("dangling", "driver", "kind", "label", "name")


def parse_truth(value: str) -> bool:
    """The value of ``dangling`` (Invalid)."""
    if value.lower() not in {"true", "false", "1", "0"}:
        raise Invalid("true or false", field="filters.dangling", value=value)
    return value.lower() in {"true", "1"}


def is_unused(parts: Parts, record: VolumeRecord) -> bool:
    """Whether the record is still there and no container refers to it."""
    is_there = parts.inventory.volumes.get(record.name) is record and record.kind == "volume"
    is_free = not parts.leases.book(record.name).leases
    return is_there and is_free and not parts.inventory.volume_users(record.name)


def build_row(parts: Parts, record: VolumeRecord) -> VolumeRow:
    """One line of a list."""
    driver = parts.volume_drivers.of(record.driver)
    return VolumeRow(
        name=record.name,
        driver=record.driver,
        mountpoint=str(driver.mountpoint(spec(record)) or ""),
        scope=driver.scope,
        labels=",".join(f"{key}={value}" for key, value in record.labels.items()),
        links=len(parts.inventory.volume_users(record.name)),
        status=_status(parts, record),
        sharing=record.sharing,
        kind=record.kind,
        origin=record.origin,
        expires=record.expires,
        last_used=parts.leases.book(record.name).last_used,
    )


def _status(parts: Parts, record: VolumeRecord) -> str:
    driver = parts.volume_drivers.of(record.driver)
    if record.phase != "ready":
        return record.phase
    state = driver.state(spec(record))
    return "ok" if state.breaker == "closed" else f"stale: {state.reason}"


def build_view(
    parts: Parts,
    record: VolumeRecord,
    usage: VolumeUsage,
    health: VolumeHealth,
    fence: VolumeFence | None = None,
) -> VolumeView:
    """All about one volume."""
    driver = parts.volume_drivers.of(record.driver)
    book = parts.leases.book(record.name)
    users = parts.inventory.volume_users(record.name)
    return VolumeView(
        name=record.name,
        driver=record.driver,
        mountpoint=str(driver.mountpoint(spec(record)) or ""),
        created_at=record.created,
        labels=record.labels,
        scope=driver.scope,
        options=record.options,
        used_by=users,
        anonymous=record.anonymous,
        health=health.state,
        health_reason=health.reason,
        sharing=record.sharing,
        kind=record.kind,
        origin=record.origin,
        expires_at=record.expires,
        schedule=record.schedule,
        driver_state=driver.state(spec(record)).breaker,
        last_user=book.last_user,
        last_used_at=book.last_used,
        leases=[
            LeaseView(
                holder=each.holder,
                node=each.node,
                epoch=each.epoch,
                access=each.access,
                taken_at=each.taken,
                leaving=each.leaving,
            )
            for each in book.leases
        ],
        shared=is_shared(record, driver),
        on_lease_loss=record.on_lease_loss,
        cluster_leases=fence.held(record.name) if fence else [],
        usage_data=VolumeUsageView(
            size=usage.used_bytes,
            inodes=usage.inodes,
            limit=usage.limit_bytes,
            ref_count=len(users),
        ),
    )

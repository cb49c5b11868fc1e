"""Entries are taken at once, written later, and found again."""

from functools import partial

import pytest
import trio

from nodeagent.control.auditlog import MAX_WAITING, AuditLog, open_audit
from nodeagent.errors import Invalid
from nodeagent.model.audit import AuditEntry, AuditQuery
from nodeagent.state.auditfile import AuditFile

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def entry(target="", *, who="uid:0", method="network.rm", minute=0):
    return AuditEntry(
        time=f"2027-01-15T07:{minute:02}:00.000000Z", method=method, target=target, outcome="ok",
        seconds=0.1, who=who, role="admin",
    )  # fmt: skip


async def find(audit, **query):
    found = []

    async def send(each):
        found.append(each.target)

    await audit.find(AuditQuery(**query), send)
    return found


@pytest.fixture
def file(tmp_path):
    return AuditFile(tmp_path / "audit", max_bytes=1 << 20, max_files=2)


async def test_the_next_agent_knows_who_changed_what(file):
    async with open_audit(file, lambda: NOW) as audit:
        audit.note(entry("a"))
        assert await find(audit) == ["a"]
        audit.note(entry("b"))
    async with open_audit(file, lambda: NOW) as audit:
        assert await find(audit) == ["a", "b"]


async def test_what_fits_is_found(file):
    async with open_audit(file, lambda: NOW) as audit:
        audit.note(entry("a", minute=10))
        audit.note(entry("b", who="client-ci", method="network.create", minute=50))
        audit.note(entry("c", who="client-ci", method="networks.odd", minute=55))
        assert await find(audit, who="ci") == await find(audit, who="client-ci") == ["b", "c"]
        assert await find(audit, who="uid:0") == ["a"]
        assert await find(audit, method="network") == ["a", "b"]
        assert await find(audit, method="network.rm") == ["a"]
        assert await find(audit, since="11m") == ["b", "c"]
        assert await find(audit, since="2027-01-15T07:52:00Z") == ["c"]
        with pytest.raises(Invalid, match="not a time"):
            await find(audit, since="yesterday")


class Disk:
    """As an AuditFile; ``error`` is what a write meets."""

    def __init__(self):
        self.written, self.error, self.tries = [], None, 0

    def append(self, entries):
        self.tries += 1
        if self.error:
            raise self.error
        self.written += [each.target for each in entries]

    def files(self):
        return []


async def until(holds):
    with trio.fail_after(10):
        while not holds():  # noqa: ASYNC110  a thread changes it
            await trio.sleep(0.001)


async def test_a_full_disk_holds_nobody_up_and_nothing_is_written_twice(nursery, caplog):
    disk, lost = Disk(), []
    disk.error = OSError(28, "No space left on device")
    audit = AuditLog(disk, lambda: NOW)
    audit.on_lost = partial(lost.append, 1)
    nursery.start_soon(partial(audit.run, retry_s=0.001))
    audit.note(entry("a"))
    await until(lambda: disk.tries > 3)
    assert await find(audit) == ["a"]  # it is known although it is not written
    for n in range(MAX_WAITING + 2):
        audit.note(entry(str(n)))
    assert len(lost) == 3
    disk.error = None
    await until(lambda: len(disk.written) == MAX_WAITING)
    assert disk.written == ["a", *(str(n) for n in range(MAX_WAITING - 1))]
    assert caplog.text.count("cannot be written") == 1
    audit.note(entry("z"))
    await until(lambda: disk.written[-1] == "z")

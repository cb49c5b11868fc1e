import os
import signal
import sqlite3
import sys
from pathlib import Path

import pytest
import trio

from nodeagent.errors import Busy, Exhausted, Internal, Refused, Unavailable
from nodeagent.state import sqlite
from nodeagent.state.sqlite import migrate, open_store, read_migrations
from nodeagent.state.store import Put

CHILD = """
import sys, trio
from pathlib import Path
from nodeagent.state.sqlite import open_store
from nodeagent.state.store import Put

async def writer(store, name):
    for n in range(10**9):
        await store.commit(Put(f"{name}/{n}/a", b"x" * 200), Put(f"{name}/{n}/b", b""))
        sys.stdout.write(f"{name}/{n}\\n")
        sys.stdout.flush()

async def main():
    async with open_store(Path(sys.argv[1])) as store, trio.open_nursery() as nursery:
        for name in "pqr":
            nursery.start_soon(writer, store, name)

trio.run(main)
"""


async def test_every_acknowledged_commit_survives_kill_9(tmp_path):
    path = tmp_path / "state.db"
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", CHILD, str(path)],
        stdout=-1,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
    )
    assert process.stdout is not None
    acknowledged = b""
    with trio.fail_after(30):
        while acknowledged.count(b"\n") < 60:
            acknowledged += await process.stdout.receive_some()
        process.send_signal(signal.SIGKILL)
        async for rest in process.stdout:
            acknowledged += rest
        await process.wait()
    async with open_store(path) as store:
        keys = {row.key for row in await store.read("")}
    promised = acknowledged.decode().splitlines()
    if not acknowledged.endswith(b"\n"):
        promised.pop()
    assert len(promised) >= 60
    assert {f"{key}/a" for key in promised} | {f"{key}/b" for key in promised} <= keys
    assert len(keys) % 2 == 0  # no half commit


async def test_parallel_commits_share_transactions(tmp_path):
    async with open_store(tmp_path / "state.db") as store:
        begun: list[str] = []
        store._connection.set_trace_callback(
            lambda sql: begun.append(sql) if sql.startswith("BEGIN") else None
        )
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(store.commit, Put(f"k{number}", b""))
        assert len(begun) <= 3


async def test_a_second_process_is_refused(tmp_path):
    path = tmp_path / "state.db"
    code = (
        "import sqlite3, sys\n"
        "try: sqlite3.connect(sys.argv[1], timeout=0).execute('SELECT * FROM objects')\n"
        "except sqlite3.OperationalError as exc: sys.exit(str(exc))"
    )
    async with open_store(path):
        result = await trio.run_process(
            [sys.executable, "-c", code, str(path)], check=False, capture_stderr=True
        )
        assert b"locked" in result.stderr


async def test_a_database_held_by_another_is_busy(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_S", 0.0)
    path = tmp_path / "state.db"
    async with open_store(path):
        with pytest.raises(Busy, match=r"state\.db"):
            async with open_store(path):
                pass


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
async def test_settings_reach_sqlite(tmp_path, synchronous):
    path = tmp_path / "state.db"
    async with open_store(path, synchronous=synchronous) as store:
        connection = store._connection
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        level = connection.execute("PRAGMA synchronous").fetchone()[0]
        assert level == {"FULL": 2, "NORMAL": 1}[synchronous]
    assert path.stat().st_mode & 0o777 == 0o600


# --- bad files ----------------------------------------------------------------------------------


async def fill(path: Path) -> None:
    async with open_store(path) as store:
        for number in range(50):
            await store.commit(Put(f"k{number}", os.urandom(3000)))


async def expect(path: Path, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        async with open_store(path):
            pass


async def test_not_a_database(tmp_path):
    path = tmp_path / "state.db"
    path.write_bytes(b"this is text, not a database" * 100)
    await expect(path, Internal, "damaged")
    assert path.read_bytes().startswith(b"this is text")


async def test_damaged_pages_are_found_at_open(tmp_path):
    path = tmp_path / "state.db"
    await fill(path)
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xa5" * 4096 * 20)
    await expect(path, Internal, "damaged")


async def test_newer_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "state.db"
    await fill(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    await expect(path, Refused, "newer nodeagent.*version=99 known=1")
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM objects").fetchone() == (50,)
    connection.close()


async def test_other_peoples_database_is_refused(tmp_path):
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    await expect(path, Refused, "another program")


async def test_folder_that_is_not_there(tmp_path):
    await expect(tmp_path / "none" / "state.db", Unavailable, "No such file")


async def test_full_disk_fails_all_of_the_batch_and_the_store_lives_on(tmp_path):
    failed: list[Exception] = []

    async with open_store(tmp_path / "state.db") as store:

        async def big(number: int) -> None:
            try:
                await store.commit(Put(f"big{number}", b"\0" * 200_000))
            except Exhausted as exc:
                failed.append(exc)

        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages + 60}")
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(big, number)
        assert failed
        assert len(await store.read("big")) == 5 - len(failed)
        await store.commit(Put("small", b""))
        assert await store.get("small") is not None


# --- migrations ---------------------------------------------------------------------------------


@pytest.fixture
def connection():
    opened = sqlite3.connect(":memory:", isolation_level=None)
    yield opened
    opened.close()


def version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def test_migrations_apply_in_order_and_once(connection):
    steps = ["CREATE TABLE t (a);", "INSERT INTO t VALUES (1);"]
    migrate(connection, Path("x"), steps[:1])
    assert version(connection) == 1
    migrate(connection, Path("x"), steps)
    migrate(connection, Path("x"), steps)
    assert connection.execute("SELECT * FROM t").fetchall() == [(1,)]


def test_a_failing_migration_leaves_the_version_before(connection):
    migrate(connection, Path("x"), ["CREATE TABLE t (a);"])
    with pytest.raises(sqlite3.Error):
        migrate(
            connection,
            Path("x"),
            ["CREATE TABLE t (a);", "INSERT INTO t VALUES (1); INSERT INTO nowhere VALUES (1);"],
        )
    assert version(connection) == 1
    assert connection.execute("SELECT * FROM t").fetchall() == []
    assert not connection.in_transaction


def test_shipped_migrations_make_the_schema(connection):
    migrate(connection, Path("x"), read_migrations())
    assert connection.execute("SELECT revision FROM store").fetchone() == (0,)

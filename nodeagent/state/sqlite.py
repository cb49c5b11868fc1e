"""The store of one host: SQLite with a write-ahead log, behind one door to one thread at a time.

Commits that arrive while one is being synced to disk are joined into the next transaction, each
in a savepoint of its own: a hundred callers pay for two or three syncs, not for a hundred, and
one caller's conflict does not touch the others.
"""

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from importlib import resources
from pathlib import Path
from typing import Final, Literal, TypeVar

import trio

from nodeagent.errors import AgentError, Busy, Exhausted, Internal, Refused, Unavailable
from nodeagent.state.reserve import Reserve
from nodeagent.state.store import Conflict, Delete, Put, Row, check_ops

Synchronous = Literal["FULL", "NORMAL"]
_T = TypeVar("_T")

APPLICATION_ID: Final = 0x6E6F6465  # "node", in the file's header: marks the database as ours
BUSY_S: Final = 1.0  # how long another process may hold the file; guess
WAL_MAX_BYTES: Final = 16 << 20  # what stays allocated after a checkpoint
CLOSE_S: Final = 10.0  # guess; a close is one sync

_UPSERT = (
    "INSERT INTO objects (key, value, revision) VALUES (?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision"
)
# 0xff is above every byte of UTF-8: the range is exactly the keys with the prefix
_RANGE = (
    "SELECT key, value, revision FROM objects WHERE key >= ? AND key < CAST(? AS TEXT) ORDER BY key"
)


class _Job:
    """One caller's commit and, once it ran, what came of it."""

    __slots__ = ("ops", "result")

    def __init__(self, ops: Sequence[Put | Delete]) -> None:
        self.ops = ops
        self.result: int | AgentError | None = None


class SqliteStore:
    """``nodeagent.state.store.Store`` in one file."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._turn = trio.Lock()
        self._door = trio.CapacityLimiter(1)
        self._pending: list[_Job] = []
        self._closed = False
        self._reserve = Reserve(path)

    async def commit(self, *ops: Put | Delete) -> int:
        """Apply all of ``ops`` durably or none; see the contract."""
        check_ops(ops)
        job = _Job(ops)
        self._pending.append(job)
        try:
            async with self._turn:
                if job.result is None:
                    await self._flush()
        finally:
            # only a cancelled caller's job can still be here; its transaction never began
            if job in self._pending:
                self._pending.remove(job)
        if isinstance(job.result, AgentError):
            raise job.result
        if job.result is None:
            raise Internal("a commit ended without a result", path=self._path)
        return job.result

    async def _flush(self) -> None:
        self._check_open()
        await trio.lowlevel.checkpoint_if_cancelled()  # before the jobs are taken, not after
        jobs, self._pending = self._pending, []
        with trio.CancelScope(shield=True):  # others wait for these jobs too; one local sync
            await trio.to_thread.run_sync(self._run, jobs, limiter=self._door)

    def _run(self, jobs: Sequence[_Job]) -> None:
        """In the thread: run the jobs; on a full disk once more with the room of the reserve."""
        _run_batch(self._connection, self._path, jobs)
        if _is_full(jobs):
            if self._reserve.spend():
                _run_batch(self._connection, self._path, jobs)
        else:
            self._reserve.renew()

    async def read(self, prefix: str) -> list[Row]:
        """All rows whose key starts with ``prefix``, by key."""
        return await self._query(_RANGE, (prefix, prefix.encode() + b"\xff"))

    async def get(self, key: str) -> Row | None:
        """One row, or None."""
        found = await self._query("SELECT key, value, revision FROM objects WHERE key = ?", (key,))
        return found[0] if found else None

    async def _query(self, sql: str, params: tuple[str | bytes, ...]) -> list[Row]:
        def run() -> list[Row]:
            with closing(self._connection.execute(sql, params)) as cursor:
                return [Row(*row) for row in cursor]

        async with self._turn:
            self._check_open()
            return await trio.to_thread.run_sync(
                _translated, "read the state", self._path, run, limiter=self._door
            )

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the state database is closed", path=self._path)

    async def close(self) -> None:
        """Finish what runs, fold the log into the file and close it."""
        async with self._turn:
            if not self._closed:
                self._closed = True
                await trio.to_thread.run_sync(self._connection.close, limiter=self._door)


@asynccontextmanager
async def open_store(
    path: Path, *, synchronous: Synchronous = "FULL"
) -> AsyncIterator[SqliteStore]:
    """Open or create the database; the caller owns it until the block ends.

    Args:
        synchronous: FULL = an acknowledged commit survives a power cut; NORMAL = it survives the
            agent's death, but a power cut may undo the last moments (never corrupt).

    Raises:
        Busy: another process, probably another agent, has it open.
        Refused: a newer agent wrote it, or it is another program's database.
        Internal: it is damaged.
    """
    connection = await trio.to_thread.run_sync(
        _translated, "open the state database", path, lambda: _open(path, synchronous)
    )
    store = SqliteStore(connection, path)
    try:
        yield store
    finally:
        with trio.move_on_after(CLOSE_S, shield=True):
            await store.close()


def _open(path: Path, synchronous: Synchronous) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(
        path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    try:
        _configure(connection, synchronous)
        migrate(connection, path, read_migrations())
        _check_sound(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _configure(connection: sqlite3.Connection, synchronous: Synchronous) -> None:
    # exclusive: two agents on one root would each believe in their own memory of it
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_MAX_BYTES}")
    connection.execute("PRAGMA trusted_schema = OFF")


def _check_sound(connection: sqlite3.Connection, path: Path) -> None:
    verdict = _scalar(connection, "PRAGMA quick_check(1)")
    if verdict != "ok":
        raise _damaged(path, str(verdict))


def _damaged(path: Path, why: str) -> Internal:
    return Internal(
        "the state database is damaged; restore a copy, or move it away to begin anew",
        path=path,
        reason=why,
    )


# --- migrations ---------------------------------------------------------------------------------


def read_migrations() -> list[str]:
    """The SQL of each step, in order; the n-th leads to version n."""
    folder = resources.files("nodeagent.state.migrations")
    files = sorted((each for each in folder.iterdir() if each.name.endswith(".sql")), key=_number)
    if [_number(each) for each in files] != list(range(1, len(files) + 1)):
        raise Internal("migrations are not numbered 1, 2, 3, …", files=[f.name for f in files])
    return [each.read_text(encoding="utf-8") for each in files]


def _number(file: resources.abc.Traversable) -> int:
    return int(file.name.partition("_")[0])


def migrate(connection: sqlite3.Connection, path: Path, steps: Sequence[str]) -> None:
    """Bring the database to version ``len(steps)``, each step whole or not at all."""
    version = _scalar(connection, "PRAGMA user_version")
    if not isinstance(version, int):
        raise _damaged(path, "no schema version")
    _check_ours(connection, path, version)
    if version > len(steps):
        raise Refused(
            "the state was written by a newer nodeagent; install that version or a newer one",
            path=path,
            version=version,
            known=len(steps),
        )
    for number, step in enumerate(steps[version:], version + 1):
        _step(connection, number, step)


def _check_ours(connection: sqlite3.Connection, path: Path, version: int) -> None:
    mark = _scalar(connection, "PRAGMA application_id")
    empty = version == 0 and _scalar(connection, "SELECT count(*) FROM sqlite_schema") == 0
    if mark != APPLICATION_ID and not empty:
        raise Refused("this is another program's database", path=path, application_id=mark)


def _step(connection: sqlite3.Connection, number: int, sql: str) -> None:
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA application_id = {APPLICATION_ID};\n"
            f"PRAGMA user_version = {number};\nCOMMIT;"
        )
    except sqlite3.Error:
        _roll_back(connection)
        raise


def _scalar(connection: sqlite3.Connection, sql: str) -> object:
    with closing(connection.execute(sql)) as cursor:
        row: tuple[object, ...] = cursor.fetchone()
    return row[0]


# --- in the thread ------------------------------------------------------------------------------


def _is_full(jobs: Sequence[_Job]) -> bool:
    return any(isinstance(job.result, Exhausted) for job in jobs)


def _run_batch(connection: sqlite3.Connection, path: Path, jobs: Sequence[_Job]) -> None:
    """Run the jobs in one transaction; each gets its own result, and all fail if it fails."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        for job in jobs:
            job.result = _run_job(connection, job.ops)
        connection.execute("COMMIT")
    except sqlite3.Error as exc:
        _fail(connection, path, jobs, exc)
    except BaseException as exc:
        _fail(connection, path, jobs, exc)
        raise


def _fail(
    connection: sqlite3.Connection, path: Path, jobs: Sequence[_Job], exc: BaseException
) -> None:
    for job in jobs:  # nobody may take a result that is being rolled back
        job.result = _failure(path, exc)
    _roll_back(connection)


def _failure(path: Path, exc: BaseException) -> AgentError:
    doing = "commit to the state database"
    if not isinstance(exc, sqlite3.Error):
        return Internal(f"could not {doing}", path=path, reason=repr(exc))
    error = _translate(doing, path, exc)
    error.__cause__ = exc
    return error


def _run_job(connection: sqlite3.Connection, ops: Sequence[Put | Delete]) -> int | Conflict:
    if not ops:
        return _revision(connection)
    connection.execute("SAVEPOINT job")
    try:
        return _apply(connection, ops)
    except Conflict as conflict:
        connection.execute("ROLLBACK TO job")
        return conflict
    finally:
        if connection.in_transaction:  # SQLite may have rolled all back, when the disk is full
            connection.execute("RELEASE job")


def _apply(connection: sqlite3.Connection, ops: Sequence[Put | Delete]) -> int:
    for op in ops:
        _check_expectation(connection, op)
    revision = _revision(connection) + 1
    connection.execute("UPDATE store SET revision = ?", (revision,))
    for op in ops:
        if isinstance(op, Put):
            connection.execute(_UPSERT, (op.key, op.value, revision))
        else:
            connection.execute("DELETE FROM objects WHERE key = ?", (op.key,))
    return revision


def _check_expectation(connection: sqlite3.Connection, op: Put | Delete) -> None:
    if op.expect is None:
        return
    with closing(
        connection.execute("SELECT revision FROM objects WHERE key = ?", (op.key,))
    ) as cursor:
        row: tuple[int] | None = cursor.fetchone()
    have = row[0] if row else 0
    if have != op.expect:
        raise Conflict(key=op.key, expect=op.expect, revision=have)


def _revision(connection: sqlite3.Connection) -> int:
    revision = _scalar(connection, "SELECT revision FROM store")
    if not isinstance(revision, int):
        raise Internal("the store has no revision")
    return revision


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _translated(doing: str, path: Path, call: Callable[[], _T]) -> _T:
    try:
        return call()
    except sqlite3.Error as exc:
        raise _translate(doing, path, exc) from exc
    except OSError as exc:
        raise Unavailable(f"could not {doing}", path=path, reason=exc.strerror) from exc


def _translate(doing: str, path: Path, exc: sqlite3.Error) -> AgentError:
    code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    reason = str(exc)
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return _damaged(path, reason)
    if code == sqlite3.SQLITE_FULL:
        return Exhausted(f"could not {doing}: no space left", path=path)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return Busy(f"could not {doing}: another process has it open", path=path)
    return Unavailable(f"could not {doing}", path=path, reason=reason)

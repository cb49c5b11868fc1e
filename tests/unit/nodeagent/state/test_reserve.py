from nodeagent.errors import Exhausted
from nodeagent.state import reserve
from nodeagent.state.reserve import RESERVE_BYTES, Reserve
from nodeagent.state.sqlite import SqliteStore, open_store
from nodeagent.state.store import Put


def test_taken_given_back_and_taken_again(tmp_path, monkeypatch):
    room = Reserve(tmp_path / "state.db")
    assert not room.spend()
    room.renew()
    file = tmp_path / "state.db.reserve"
    assert file.stat().st_blocks * 512 >= RESERVE_BYTES
    room.renew()
    assert room.spend()
    assert not file.exists()
    monkeypatch.setattr(reserve, "FREE_BYTES", 1 << 60)
    room.renew()
    assert not file.exists()  # not on a disk that is nearly full


async def test_a_commit_that_finds_no_room_has_the_reserve_once(tmp_path, monkeypatch):
    async with open_store(tmp_path / "state.db") as store:
        await store.commit(Put("a", b"1"))
        assert (tmp_path / "state.db.reserve").exists()
        runs = []

        def run_batch(_connection, _path, jobs):
            runs.append((tmp_path / "state.db.reserve").exists())
            for job in jobs:
                job.result = 7 if len(runs) == 2 else Exhausted("no space left")

        monkeypatch.setattr("nodeagent.state.sqlite._run_batch", run_batch)
        assert isinstance(store, SqliteStore)
        assert await store.commit(Put("b", b"2")) == 7
        assert runs == [True, False]

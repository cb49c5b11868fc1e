"""A container's /etc files on the host."""

from nodeagent.control.etcdir import etc_directory, remove, rewrite, write_files
from nodeagent.control.parts import Settings
from tests.fakes.records import container, endpoint


def test_files_keep_their_inode(tmp_path):
    write_files(tmp_path / "etc", {"hosts": "one"})
    inode = (tmp_path / "etc" / "hosts").stat().st_ino
    write_files(tmp_path / "etc", {"hosts": "two"})
    assert (tmp_path / "etc" / "hosts").stat().st_ino == inode
    assert (tmp_path / "etc" / "hosts").read_text() == "two"


def test_written_and_removed_again(tmp_path):
    settings = Settings(
        root=tmp_path,
        run=tmp_path,
        agent_id="a",
        metrics_address="",
        pools=(),
        publish_addresses=(),
        dns_upstreams=(),
        log_max_bytes=0,
        mtu_bytes=0,
        resolv_conf=tmp_path / "absent",
    )
    record = container(endpoints={"n" * 64: endpoint()})
    rewrite(settings, record)
    written = etc_directory(settings, record.id)
    assert (written / "hostname").read_text() == "a" * 12 + "\n"
    assert "127.0.0.11" in (written / "resolv.conf").read_text()
    remove(settings, record.id)
    remove(settings, record.id)
    assert not written.exists()

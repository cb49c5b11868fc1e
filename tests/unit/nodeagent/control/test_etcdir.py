"""A container's /etc files on the host."""

import pytest

from nodeagent.control.etcdir import (
    etc_directory,
    remove,
    rewrite,
    update,
    write_files,
)
from nodeagent.control.parts import Settings
from tests.fakes.records import container, endpoint


def test_files_keep_their_inode(tmp_path):
    write_files(tmp_path / "etc", {"hosts": "one"})
    inode = (tmp_path / "etc" / "hosts").stat().st_ino
    write_files(tmp_path / "etc", {"hosts": "two"})
    assert (tmp_path / "etc" / "hosts").stat().st_ino == inode
    assert (tmp_path / "etc" / "hosts").read_text() == "two"


@pytest.fixture
def settings(tmp_path):
    return Settings(
        root=tmp_path,
        run=tmp_path,
        agent_id="a",
        metrics_address="",
        pools=(),
        publish_addresses=(),
        dns_upstreams=(),
        mtu_bytes=0,
        resolv_conf=tmp_path / "absent",
    )


def test_written_and_removed_again(settings):
    record = container(endpoints={"n" * 64: endpoint()})
    rewrite(settings, record)
    written = etc_directory(settings, record.id)
    assert (written / "hostname").read_text() == "a" * 12 + "\n"
    assert "127.0.0.11" in (written / "resolv.conf").read_text()
    remove(settings, record.id)
    remove(settings, record.id)
    assert not written.exists()


def test_what_the_container_wrote_stays_when_its_networks_change(settings):
    one = container(endpoints={"n" * 64: endpoint()})
    both = {**one.endpoints, "m" * 64: endpoint("m" * 64, "10.9.0.2/24", "eth1")}
    two = container(endpoints=both)
    rewrite(settings, one)
    written = etc_directory(settings, one.id)
    (written / "resolv.conf").write_text("nameserver 192.0.2.7\n")
    with (written / "hosts").open("a") as hosts:
        hosts.write("192.0.2.8 mine\n")
    update(settings, one, two)
    lines = (written / "hosts").read_text().splitlines()
    assert [line.split()[0] for line in lines[-3:]] == ["172.20.0.2", "10.9.0.2", "192.0.2.8"]
    update(settings, two, one)
    text = (written / "hosts").read_text()
    assert "10.9.0.2" not in text
    assert text.endswith("192.0.2.8 mine\n")
    assert (written / "resolv.conf").read_text() == "nameserver 192.0.2.7\n"


def test_who_had_no_network_asks_us_once_it_has_one(settings):
    settings.resolv_conf.write_text("nameserver 192.0.2.9\n")
    alone, joined = container(), container(endpoints={"n" * 64: endpoint()})
    rewrite(settings, alone)
    update(settings, alone, joined)
    written = etc_directory(settings, alone.id) / "resolv.conf"
    assert written.read_text().startswith("nameserver 127.0.0.11\n")
    update(settings, joined, alone)
    assert written.read_text().startswith("nameserver 127.0.0.11\n")

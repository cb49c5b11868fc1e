"""What an agent keeps of its membership."""

import stat
import time

import pytest

from nodeagent.cluster import ca
from nodeagent.cluster.place import ClusterPlace
from nodeagent.errors import Refused
from nodeagent.model.cluster import ClusterSelf

OWN = ClusterSelf(
    cluster="c", node_id="n", role="worker", name="web-1", address="192.0.2.1",
    managers=["192.0.2.2:2379"], phase="joining",
)  # fmt: skip


def test_who_one_is_is_kept_and_forgotten(tmp_path):
    place = ClusterPlace(tmp_path / "cluster")
    assert place.read() is None
    place.write(OWN)
    assert place.read() == OWN
    place.forget()
    place.forget()
    assert place.read() is None


def test_a_damaged_file_is_told_and_kept(tmp_path):
    place = ClusterPlace(tmp_path / "cluster")
    place.write(OWN)
    (place.folder / "self.json").write_bytes(b'{"cluster": "c"')
    with pytest.raises(Refused, match=r"self\.json"):
        place.read()
    assert (place.folder / "self.json").exists()


def test_keys_are_for_nobody_else(tmp_path):
    place = ClusterPlace(tmp_path / "cluster")
    authority = ca.create_ca("c", now=time.time())
    bearer = ca.Bearer(name="worker-n", role="worker")
    place.write_identity(authority.certificate, ca.issue(authority, bearer, now=time.time()))
    place.write_founding(authority)
    assert not place.has_peer()
    place.write_peer(ca.issue_peer(authority, "192.0.2.1", now=time.time()))
    assert place.has_peer()
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in place.folder.iterdir()} == {0o600}
    assert place.read_founding() == authority
    place.forget_founding()
    assert place.read_founding() is None
    assert place.client_context().cert_store_stats()["x509_ca"] == 1

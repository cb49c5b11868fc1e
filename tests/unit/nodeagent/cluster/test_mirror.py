"""What other nodes have written is believed only if it reads as it should.

The mirror on a real store is in the kernel ring.

Covers nodeagent/cluster/mirror.py, nodeagent/model/cluster.py
"""

import msgspec
import pytest

from nodeagent.cluster.mirror import Mirror, believe
from nodeagent.model.cluster import AddressClaim, EndpointRow, NodeSelf
from nodeagent.state.store import Row

KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
NODE = {"address": "192.0.2.1", "version": "1", "key": KEY}
ENDPOINT = {"container": "web", "mac": "02:00:00:00:00:01", "addresses": ["10.0.0.2"],
            "names": ["web"], "services": {"_80._tcp": 80}}  # fmt: skip


def row(value, key="node/n/self"):
    raw = value if isinstance(value, bytes) else msgspec.msgpack.encode(value)
    return Row(key, raw, 1)


def test_what_reads_well_is_believed():
    assert believe(row(NODE), NodeSelf) == NodeSelf(**NODE)
    assert believe(row(ENDPOINT), EndpointRow) == EndpointRow(**ENDPOINT)
    assert believe(row({**NODE, "address": "fd00::1", "key": ""}), NodeSelf).address == "fd00::1"


@pytest.mark.parametrize(
    "change",
    [
        {"address": "nowhere"}, {"address": "0.0.0.0"}, {"address": "::"}, {"address": "224.0.0.1"},
        {"address": "fe80::1%eth0"}, {"address": 7}, {"key": "short"}, {"key": KEY[:-2] + "1="},
        {"wireguard_port": 0}, {"rpc_port": 70000}, {"version": "v" * 300},
    ],
)  # fmt: skip
def test_a_node_that_cannot_be_is_not_believed(change, caplog):
    assert believe(row({**NODE, **change}), NodeSelf) is None
    assert "ignored" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"mac": "01:00:5e:00:00:01"}, {"mac": "02-00-00-00-00-01"}, {"mac": ""},
        {"addresses": ["10.0.0.2/24"]}, {"addresses": ["10.0.0.1"] * 17}, {"addresses": "10.0.0.2"},
        {"container": ""}, {"container": "a..b"}, {"container": "w" * 64}, {"container": "a b"},
        {"container": "a." * 127 + "b"}, {"names": [""]}, {"names": ["n" * 256]},
        {"services": {"_80._tcp": 0}}, {"services": {"_80._tcp": 65536}}, {"ready": "yes"},
    ],
)  # fmt: skip
def test_an_endpoint_that_cannot_be_is_not_believed(change):
    assert believe(row({**ENDPOINT, **change}), EndpointRow) is None


@pytest.mark.parametrize("raw", [b"", b"\xff", b"\xc0", b"\x81\xa7address", b"\x91" * 2000])
@pytest.mark.parametrize("type_", [NodeSelf, EndpointRow, AddressClaim])
def test_garbage_is_not_believed(raw, type_):
    assert believe(row(raw), type_) is None


def test_one_bad_row_hides_no_other_and_is_told_of_once(caplog):
    mirror = Mirror(None, "node/")
    mirror.rows = {
        "a/self": row(NODE), "b/self": row(b"\xff", "node/b/self"), "c/spec": row(b"\xff")
    }  # fmt: skip
    for _ in range(3):
        assert list(mirror.decoded(NodeSelf, "/self")) == ["a"]
    assert caplog.text.count("ignored") == 1
    mirror.rows["b/self"] = row(NODE)  # it says something better now
    assert list(mirror.decoded(NodeSelf, "/self")) == ["a", "b"]


def test_a_value_that_does_not_fit_is_not_believed():
    mirror = Mirror(None, "ep/x/", fits=lambda each: each.addresses != ["10.0.0.1"])
    mirror.rows = {"n/1": row(ENDPOINT), "n/2": row({**ENDPOINT, "addresses": ["10.0.0.1"]})}
    assert list(mirror.decoded(EndpointRow)) == ["n/1"]

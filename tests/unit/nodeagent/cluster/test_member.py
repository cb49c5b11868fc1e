"""A member's command line. Its life is in the kernel ring.

Covers nodeagent/cluster/member.py
"""

from pathlib import Path

from nodeagent.cluster.member import MemberSpec, build_args, build_url

SPEC = MemberSpec(
    name="n1", folder=Path("/data/etcd"), host="fd00::1", client_port=2379, peer_port=2380,
    members={"n1": "https://[fd00::1]:2380", "n2": "https://[fd00::2]:2380"}, state="existing",
)  # fmt: skip


def test_nothing_is_spoken_in_clear_or_with_strangers():
    args = build_args(SPEC)
    assert not [each for each in args if "http://" in each]
    assert {"--client-cert-auth", "--peer-client-cert-auth"} <= set(args)
    assert "--trusted-ca-file=/data/etcd/store-ca.crt" in args
    assert "--peer-trusted-ca-file=/data/etcd/store-ca.crt" in args
    assert "--peer-cert-allowed-cn=nodeagent-store" in args


def test_all_members_are_named():
    assert "--initial-cluster=n1=https://[fd00::1]:2380,n2=https://[fd00::2]:2380" in build_args(
        SPEC
    )
    assert "--initial-cluster-state=existing" in build_args(SPEC)
    assert "--force-new-cluster" not in build_args(SPEC)


def test_urls():
    assert build_url("192.0.2.1", 2379) == "https://192.0.2.1:2379"
    assert build_url("::1", 1) == "https://[::1]:1"

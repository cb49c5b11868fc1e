import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.container.users import Identity, parse_group, parse_passwd, resolve
from runtime.errors import Invalid

PASSWD = (
    b"root:x:0:0::/root:/bin/sh\n# no\nbroken\nbob:x:1000:1001::/home/bob:/bin/sh\n"
    b"7:x:70:71::/seven:\n"
)
GROUP = b"root:x:0:\nbobs:x:1001:\nwheel:x:10:eve,bob\ndisk:x:6:bob\nbad:x:-3:\n"


def read(path):
    return {"/etc/passwd": PASSWD, "/etc/group": GROUP}[path]


@pytest.mark.parametrize(
    ("user", "extra", "identity"),
    [
        ("", (), Identity(uid=0, gid=0, groups=(0,), home="/root")),
        ("bob", (), Identity(uid=1000, gid=1001, groups=(1001, 10, 6), home="/home/bob")),
        ("1000", (), Identity(uid=1000, gid=1001, groups=(1001, 10, 6), home="/home/bob")),
        ("bob:disk", (), Identity(uid=1000, gid=6, groups=(6,), home="/home/bob")),
        (
            "bob:1234",
            ("wheel", "9"),
            Identity(uid=1000, gid=1234, groups=(1234, 10, 9), home="/home/bob"),
        ),
        ("555", (), Identity(uid=555, gid=0, groups=(0,), home="/")),
        ("7", (), Identity(uid=70, gid=71, groups=(71,), home="/seven")),  # a name first
    ],
)
def test_resolve(user, extra, identity):
    assert resolve(user, extra, read) == identity


@pytest.mark.parametrize("user", ["eve", "bob:nobody", "-1", "99999999999", "4294967295", "bob:"])
def test_names_that_do_not_exist(user):
    if user == "bob:":
        assert resolve(user, (), read).gid == 1001
        return
    with pytest.raises(Invalid):
        resolve(user, (), read)


def test_image_without_files():
    assert resolve("", (), lambda _: b"") == Identity(uid=0, gid=0, groups=(0,), home="/")
    assert resolve("5:6", (), lambda _: b"").gid == 6


@given(st.binary(max_size=200))
def test_any_file_is_read(data):
    for account in parse_passwd(data):
        assert account.uid >= 0
    for group in parse_group(data):
        assert group.gid >= 0

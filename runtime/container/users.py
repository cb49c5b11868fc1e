"""User and group names as the container's own files know them.

Source: Docker's rules for ``--user`` (daemon/oci_linux.go, moby/sys/user).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from runtime.errors import Invalid

ID_MAX: Final = (1 << 31) - 1
PASSWD: Final = "/etc/passwd"  # noqa: S105  a path
GROUP: Final = "/etc/group"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Numbers a process runs with, and the home directory its name has."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One line of passwd."""

    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One line of group."""

    name: str
    gid: int
    members: tuple[str, ...]


def _rows(data: bytes, columns: int) -> Iterator[list[str]]:
    for line in data.decode("utf-8", errors="replace").split("\n"):
        row = line.strip().split(":")
        if len(row) >= columns and not row[0].startswith("#"):
            yield row


def parse_number(text: str) -> int | None:
    """A user or group number, or None if it is not one in range."""
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        return None
    value = int(text)
    return value if value <= ID_MAX else None


def parse_passwd(data: bytes) -> list[Account]:
    """The lines that are whole; a broken line is skipped, as the C library does."""
    found = []
    for row in _rows(data, 6):
        uid, gid = parse_number(row[2]), parse_number(row[3])
        if uid is not None and gid is not None:
            found.append(Account(name=row[0], uid=uid, gid=gid, home=row[5] or "/"))
    return found


def parse_group(data: bytes) -> list[Group]:
    """The lines that are whole."""
    found = []
    for row in _rows(data, 4):
        gid = parse_number(row[2])
        if gid is not None:
            members = tuple(filter(None, row[3].split(",")))
            found.append(Group(name=row[0], gid=gid, members=members))
    return found


def resolve(user: str, extra: Sequence[str], read: Callable[[str], bytes]) -> Identity:
    """Turn ``--user`` and ``--group-add`` into numbers.

    Args:
        user: "", "uid", "name", "uid:gid", "name:group".
        read: content of a file inside the root filesystem, b"" if there is none.

    Raises:
        Invalid: no such name.
    """
    name, _, group_name = user.partition(":")
    accounts, groups = parse_passwd(read(PASSWD)), parse_group(read(GROUP))
    account = _find_account(name or "0", accounts)
    gid = _find_group(group_name, groups) if group_name else account.gid
    # a group given by hand replaces the groups the account is a member of
    member = () if group_name else (g.gid for g in groups if account.name in g.members)
    # with the primary group too: left out, setgid programs could shed it (CVE-2022-36109)
    wanted = (gid, *member, *(_find_group(each, groups) for each in extra))
    return Identity(
        uid=account.uid, gid=gid, groups=tuple(dict.fromkeys(wanted)), home=account.home
    )


def _find_account(name: str, accounts: Sequence[Account]) -> Account:
    number = parse_number(name)
    for account in accounts:
        if account.name == name or (number is not None and account.uid == number):
            return account
    if number is None:
        raise Invalid("no such user in the image", user=name, file=PASSWD)
    return Account(name="", uid=number, gid=0, home="/")


def _find_group(name: str, groups: Sequence[Group]) -> int:
    number = parse_number(name)
    for group in groups:
        if group.name == name or (number is not None and group.gid == number):
            return group.gid
    if number is None:
        raise Invalid("find group in the image", group=name, file=GROUP)
    return number

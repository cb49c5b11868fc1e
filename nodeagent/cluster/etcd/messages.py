"""etcd's messages: names and field numbers of what we use of its protocol, and their classes. Pure.

Source: the API reference of etcd 3.4 (services KV, Watch, Lease, Cluster, Auth, Maintenance).
"""

from collections.abc import Iterator, Mapping
from typing import Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

PACKAGE: Final = "nodeagent.etcd"
EQUAL: Final = 0  # Compare.result
MOD: Final = 2  # Compare.target
DELETE: Final = 1  # Event.type
READ: Final = 0  # Permission.permType
READWRITE: Final = 2

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "bytes": _Field.TYPE_BYTES, "string": _Field.TYPE_STRING, "bool": _Field.TYPE_BOOL,
    "int64": _Field.TYPE_INT64, "uint64": _Field.TYPE_UINT64, "int32": _Field.TYPE_INT32,
}  # fmt: skip

# enums are int32 here: the same on the wire
FIELDS: Final[Mapping[str, str]] = {
    "Header": "cluster_id=1 uint64, member_id=2 uint64, revision=3 int64, raft_term=4 uint64",
    "KeyValue": "key=1 bytes, create_revision=2 int64, mod_revision=3 int64, version=4 int64,"
    " value=5 bytes, lease=6 int64",
    "Event": "type=1 int32, kv=2 KeyValue",
    "RangeRequest": "key=1 bytes, range_end=2 bytes, limit=3 int64, revision=4 int64,"
    " serializable=7 bool, keys_only=8 bool, count_only=9 bool",
    "RangeResponse": "header=1 Header, kvs=2 *KeyValue, more=3 bool, count=4 int64",
    "PutRequest": "key=1 bytes, value=2 bytes, lease=3 int64",
    "PutResponse": "header=1 Header",
    "DeleteRangeRequest": "key=1 bytes, range_end=2 bytes",
    "DeleteRangeResponse": "header=1 Header, deleted=2 int64",
    "Compare": "result=1 int32, target=2 int32, key=3 bytes, mod_revision=6 int64",
    "RequestOp": "request_range=1 RangeRequest, request_put=2 PutRequest,"
    " request_delete_range=3 DeleteRangeRequest",
    "ResponseOp": "response_range=1 RangeResponse, response_put=2 PutResponse,"
    " response_delete_range=3 DeleteRangeResponse",
    "TxnRequest": "compare=1 *Compare, success=2 *RequestOp, failure=3 *RequestOp",
    "TxnResponse": "header=1 Header, succeeded=2 bool, responses=3 *ResponseOp",
    "CompactionRequest": "revision=1 int64, physical=2 bool",
    "CompactionResponse": "header=1 Header",
    "WatchCreate": "key=1 bytes, range_end=2 bytes, start_revision=3 int64,"
    " progress_notify=4 bool, fragment=8 bool",
    "WatchRequest": "create_request=1 WatchCreate",
    "WatchResponse": "header=1 Header, watch_id=2 int64, created=3 bool, canceled=4 bool,"
    " compact_revision=5 int64, cancel_reason=6 string, fragment=7 bool, events=11 *Event",
    "LeaseGrantRequest": "TTL=1 int64, ID=2 int64",
    "LeaseGrantResponse": "header=1 Header, ID=2 int64, TTL=3 int64, error=4 string",
    "LeaseRevokeRequest": "ID=1 int64",
    "LeaseRevokeResponse": "header=1 Header",
    "LeaseKeepAliveRequest": "ID=1 int64",
    "LeaseKeepAliveResponse": "header=1 Header, ID=2 int64, TTL=3 int64",
    "Member": "ID=1 uint64, name=2 string, peerURLs=3 *string, clientURLs=4 *string,"
    " isLearner=5 bool",
    "MemberAddRequest": "peerURLs=1 *string, isLearner=2 bool",
    "MemberAddResponse": "header=1 Header, member=2 Member, members=3 *Member",
    "MemberPromoteRequest": "ID=1 uint64",
    "MemberPromoteResponse": "header=1 Header, members=2 *Member",
    "MemberRemoveRequest": "ID=1 uint64",
    "MemberRemoveResponse": "header=1 Header, members=2 *Member",
    "MemberListRequest": "linearizable=1 bool",
    "MemberListResponse": "header=1 Header, members=2 *Member",
    "StatusRequest": "",
    "StatusResponse": "header=1 Header, version=2 string, dbSize=3 int64, leader=4 uint64,"
    " raftIndex=5 uint64, raftTerm=6 uint64",
    "SnapshotRequest": "",
    "SnapshotResponse": "header=1 Header, remaining_bytes=2 uint64, blob=3 bytes",
    "AuthEnableRequest": "",
    "AuthEnableResponse": "header=1 Header",
    "UserAddOptions": "no_password=1 bool",
    "UserAddRequest": "name=1 string, password=2 string, options=3 UserAddOptions",
    "UserAddResponse": "header=1 Header",
    "UserDeleteRequest": "name=1 string",
    "UserDeleteResponse": "header=1 Header",
    "UserGrantRoleRequest": "user=1 string, role=2 string",
    "UserGrantRoleResponse": "header=1 Header",
    "RoleAddRequest": "name=1 string",
    "RoleAddResponse": "header=1 Header",
    "RoleDeleteRequest": "role=1 string",
    "RoleDeleteResponse": "header=1 Header",
    "Permission": "permType=1 int32, key=2 bytes, range_end=3 bytes",
    "RoleGrantPermissionRequest": "name=1 string, perm=2 Permission",
    "RoleGrantPermissionResponse": "header=1 Header",
}

# methods by the service that has them; each takes NAMERequest and answers NAMEResponse
_METHODS: Final[Mapping[str, str]] = {
    "KV": "Range Put Txn",
    "Lease": "LeaseGrant LeaseRevoke",
    "Cluster": "MemberAdd MemberRemove MemberList MemberPromote",
    "Maintenance": "Status",
    "Auth": "AuthEnable UserAdd UserDelete UserGrantRole RoleAdd RoleDelete RoleGrantPermission",
}
# full method path: (request's name, response's name)
_ODD: Final = {
    "Compact": ("/etcdserverpb.KV/Compact", "CompactionRequest", "CompactionResponse"),
    "Watch": ("/etcdserverpb.Watch/Watch", "WatchRequest", "WatchResponse"),
    "Snapshot": ("/etcdserverpb.Maintenance/Snapshot", "SnapshotRequest", "SnapshotResponse"),
    "LeaseKeepAlive": (
        "/etcdserverpb.Lease/LeaseKeepAlive",
        "LeaseKeepAliveRequest",
        "LeaseKeepAliveResponse",
    ),
}


class Malformed(Exception):
    """Bytes that are no such message."""


def _parse_fields(text: str) -> Iterator[tuple[str, int, str, bool]]:
    for part in filter(None, (each.strip() for each in text.split(","))):
        name_number, type_ = part.split()
        name, number = name_number.split("=")
        yield name, int(number), type_.lstrip("*"), type_.startswith("*")


def _build_file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="nodeagent/etcd.proto", package=PACKAGE, syntax="proto3"
    )
    for message_name, text in FIELDS.items():
        message = file.message_type.add(name=message_name)
        for name, number, type_, is_many in _parse_fields(text):
            field = message.field.add(name=name, number=number)
            field.label = _Field.LABEL_REPEATED if is_many else _Field.LABEL_OPTIONAL
            if type_ in _SCALARS:
                field.type = _SCALARS[type_]
            else:
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{type_}"
    return file


def _load() -> Mapping[str, type[Message]]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_build_file())
    found = {name: pool.FindMessageTypeByName(f"{PACKAGE}.{name}") for name in FIELDS}
    return {name: message_factory.GetMessageClass(each) for name, each in found.items()}


_CLASSES: Final = _load()


def message(name: str, /, **fields: object) -> Message:
    """A message of ``FIELDS``; nested ones are given as messages or dicts."""
    return _CLASSES[name](**fields)


def parse_message(name: str, data: bytes) -> Message:
    """Decode a message of that name. Raises Malformed."""
    found = _CLASSES[name]()
    try:
        found.ParseFromString(data)
    except DecodeError as exc:
        raise Malformed(f"not a {name}") from exc
    return found


def method(name: str) -> tuple[str, str, str]:
    """(path, request's name, response's name) of a method."""
    if name in _ODD:
        return _ODD[name]
    service = next(key for key, names in _METHODS.items() if name in names.split())
    return f"/etcdserverpb.{service}/{name}", f"{name}Request", f"{name}Response"


def range_end(prefix: bytes) -> bytes:
    """The end of the range of all keys with the prefix; a zero byte = to the last key."""
    for at in reversed(range(len(prefix))):
        if prefix[at] < 0xFF:
            return prefix[:at] + bytes([prefix[at] + 1])
    return b"\0"

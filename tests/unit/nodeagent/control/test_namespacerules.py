import pytest

from nodeagent.control.namespacerules import check_namespaces, namespace_of
from nodeagent.errors import Invalid
from nodeagent.model.containerrequest import ContainerCreate


def check(**fields):
    check_namespaces(ContainerCreate(image="x", **fields))


def test_what_there_is():
    check()
    check(pid_mode="host", ipc_mode="host", uts_mode="host", cgroupns_mode="host")
    check(pid_mode="container:web", ipc_mode="none", domainname="example.test", hostname="a")
    check(userns_mode="host", privileged=True)
    check(userns_mode="auto", network_mode="container:web", ipc_mode="none")
    check(ipc_mode="shareable", pid_mode="container:web")
    check(ipc_mode="container:web")
    check(pid_mode="private", ipc_mode="private", uts_mode="private", cgroupns_mode="private")
    assert [namespace_of(mode) for mode in ("", "private", "shareable", "host")] == [
        "",
        "",
        "",
        "host",
    ]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"pid_mode": "container:"}, "pid_mode"),
        ({"pid_mode": "shared"}, "pid_mode"),
        ({"userns_mode": "keep-id"}, "userns_mode"),
        ({"userns_mode": "private"}, "userns_mode"),
        ({"userns_mode": "auto", "privileged": True}, "privileged"),
        ({"userns_mode": "auto", "ipc_mode": "shareable"}, "ipc_mode"),
        ({"userns_mode": "auto", "pid_mode": "container:x"}, "pid_mode"),
        ({"userns_mode": "auto", "network_mode": "host"}, "network_mode"),
        ({"ipc_mode": "shared"}, "ipc_mode"),
        ({"ipc_mode": "container:"}, "ipc_mode"),
        ({"ipc_mode": "container:web", "sysctls": {"kernel.sem": "1"}}, "sysctls.kernel.sem"),
        ({"uts_mode": "container:web"}, "uts_mode"),
        ({"cgroupns_mode": "none"}, "cgroupns_mode"),
        ({"domainname": "a b"}, "domainname"),
        ({"uts_mode": "host", "hostname": "a"}, "hostname"),
        ({"uts_mode": "host", "domainname": "a"}, "domainname"),
        ({"ipc_mode": "host", "sysctls": {"kernel/msgmax": "1"}}, "sysctls.kernel/msgmax"),
    ],
)
def test_what_is_refused_by_field(fields, names):
    with pytest.raises(Invalid) as caught:
        check(**fields)
    assert caught.value.fields["field"] == names

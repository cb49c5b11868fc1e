import pytest

from nodeagent.control.securityrules import check_security, security_options
from nodeagent.errors import Invalid
from nodeagent.model.containerrequest import ContainerCreate


def request(**fields):
    return ContainerCreate(image="x", **fields)


def test_what_asks_for_nothing_is_taken_everywhere():
    check_security(request(), ())
    check_security(request(apparmor="unconfined", selinux=["disable"]), ())
    check_security(request(apparmor="mine"), {"apparmor"})


@pytest.mark.parametrize(
    ("fields", "modules", "names", "why"),
    [
        ({"apparmor": "mine"}, {"selinux"}, "apparmor", "without AppArmor"),
        ({"selinux": ["disable", "type:x_t"]}, (), "selinux[1]", "without SELinux"),
        ({"selinux": ["level:s0:c1"]}, {"selinux"}, "selinux[0]", "no SELinux labels"),
        ({"selinux": ["kind:x"]}, {"selinux"}, "selinux[0]", "not a label"),
    ],
)
def test_what_would_be_ignored_is_refused(fields, modules, names, why):
    with pytest.raises(Invalid, match=why) as caught:
        check_security(request(**fields), modules)
    assert caught.value.fields["field"] == names


def test_shown_as_docker_takes_them():
    asked = request(no_new_privileges=True, seccomp="unconfined", apparmor="a", selinux=["disable"],
                    system_paths="unconfined")  # fmt: skip
    assert security_options(asked) == [
        "no-new-privileges", "seccomp=unconfined", "systempaths=unconfined", "apparmor=a",
        "label=disable",
    ]  # fmt: skip
    assert security_options(request()) == []

import base64

from runtime.container.filters import ANNOTATION, Filters


def config(name):
    return {"annotations": {}, "linux": {"seccomp": {"defaultAction": name}}}


def test_program_is_given_to_the_same_profile_only(tmp_path):
    (tmp_path / "seccomp.bpf").write_bytes(b"8 bytes.")
    filters = Filters()
    filters.learn(config("a"), tmp_path)
    same, other, none = config("a"), config("b"), {"annotations": {}, "linux": {}}
    for each in (same, other, none):
        filters.add(each)
    assert base64.b64decode(same["annotations"][ANNOTATION]) == b"8 bytes."
    assert same["linux"]["seccomp"] == {"defaultAction": "a"}
    assert other["annotations"] == none["annotations"] == {}


def test_nothing_is_learnt_of_what_is_no_program(tmp_path):
    filters = Filters()
    filters.learn(config("a"), tmp_path)
    for data in (b"", b"123", b"x" * 40000):
        (tmp_path / "seccomp.bpf").write_bytes(data)
        filters.learn(config("a"), tmp_path)
    found = config("a")
    filters.add(found)
    assert found["annotations"] == {}

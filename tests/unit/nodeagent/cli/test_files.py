"""Where ``cp`` puts what: as docker cp documents it."""

import pytest

from nodeagent.cli.files import choose_target, save_to, split_place
from nodeagent.cli.grammar import UsageError


@pytest.mark.parametrize(
    ("word", "place"),
    [
        ("web:/etc", ("web", "/etc")),
        ("web:etc", ("web", "etc")),
        ("web:a:b", ("web", "a:b")),
        ("./a:b", ("", "./a:b")),
        ("/a:b", ("", "/a:b")),
        ("file", ("", "file")),
        ("-", ("", "-")),
    ],
)
def test_containers_and_paths(word, place):
    assert split_place(word) == place


@pytest.mark.parametrize("word", ["web:", ":/etc"])
def test_half_a_place_is_refused(word):
    with pytest.raises(UsageError, match="CONTAINER:PATH"):
        split_place(word)


@pytest.mark.parametrize(
    ("source", "kind", "target", "there", "found"),
    [
        ("a/f", "file", "d", "folder", ("d", "f")),
        ("a/f", "file", "d/new", "none", ("d", "new")),
        ("a/f", "file", "new", "none", (".", "new")),
        ("a/f", "file", "/new", "none", ("/", "new")),
        ("a/f", "file", "d/old", "file", ("d", "old")),
        ("/a/d", "folder", "d", "folder", ("d", "d")),
        ("/a/d/", "folder", "d/", "folder", ("d/", "d")),
        ("/a/d", "folder", "x/new/", "none", ("x", "new")),
        ("/a/d/.", "folder", "x", "folder", ("x", "")),
        ("/a/d/.", "folder", "x/new", "none", ("x", "new")),
        (".", "folder", "x", "folder", ("x", "")),
        ("/", "folder", "x", "folder", ("x", "")),
    ],
)
def test_the_target(source, kind, target, there, found):
    assert choose_target(source, kind, target, there) == found


@pytest.mark.parametrize(
    ("kind", "target", "there", "says"),
    [("file", "d/", "none", "no such folder"), ("folder", "f", "file", "is a file")],
)
def test_what_cannot_be(kind, target, there, says):
    with pytest.raises(UsageError, match=says):
        choose_target("x", kind, target, there)


def test_a_file_has_its_name_only_once_it_is_whole(tmp_path):
    def broken():
        yield b"half"
        raise ValueError

    target = tmp_path / "out"
    target.write_text("before")
    with pytest.raises(ValueError):  # noqa: PT011
        save_to(str(target), broken())
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
    assert target.read_text() == "before"
    save_to(str(target), iter([b"who", b"le"]))
    assert target.read_text() == "whole"

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.container.conmon import Command, Words, parse_word
from runtime.errors import Internal

COMMAND = Command(
    conmon="/usr/bin/conmon",
    runtime=("/usr/bin/unshare", "--mount", "/usr/bin/crun", "--root", "/run/x/oci"),
    container_id="c" * 64,
    bundle=Path("/b"),
    live=Path("/run/x/ctr/c"),
    temporary=Path("/run/x/tmp"),
    tty=False,
    stdin=False,
    keep_stdin=True,
    log=Path("/l/ctr.log"),
)


def test_command_line_of_a_container():
    argv = COMMAND.argv()
    assert argv[0] == "/usr/bin/conmon"
    assert "--runtime=/usr/bin/unshare" in argv
    assert [word for word in argv if word.startswith("--runtime-arg=")] == [
        "--runtime-arg=--mount",
        "--runtime-arg=/usr/bin/crun",
        "--runtime-arg=--root",
        "--runtime-arg=/run/x/oci",
    ]
    assert "--log-path=k8s-file:/l/ctr.log" in argv
    assert "--persist-dir=/run/x/ctr/c" in argv
    assert not {"--terminal", "--stdin", "--leave-stdin-open", "--exec"} & set(argv)


def test_flags_of_an_exec():
    command = replace(COMMAND, tty=True, stdin=True, log=None, exec_process=Path("/p.json"))
    argv = command.argv()
    assert {"--terminal", "--stdin", "--leave-stdin-open", "--exec", "--exec-attach"} <= set(argv)
    assert "--exec-process-spec=/p.json" in argv
    assert "--log-path=none" in argv


def test_no_word_of_the_command_line_can_be_taken_for_another_option():
    assert all(word.startswith("--") for word in COMMAND.argv()[1:])


def test_long_run_directory_is_not_given_to_conmon_for_its_socket():
    assert COMMAND.env() == {"TMPDIR": "/run/x/tmp"}
    assert replace(COMMAND, temporary=Path("/" + "x" * 90)).env() == {}


@given(st.integers(-(1 << 31), 1 << 31), st.text())
def test_words_come_back_whatever_they_say(data, message):
    line = json.dumps({"data": data, "message": message}).encode()
    word = parse_word(line)
    assert (word.data, word.message) == (data, message.strip())


@given(st.lists(st.integers(0, 1 << 22), max_size=5), st.integers(1, 7))
def test_any_split_gives_the_same_words(numbers, size):
    raw = b"".join(b'{"data": %d}\n' % number for number in numbers)
    words = Words()
    found = [w.data for i in range(0, len(raw), size) for w in words.feed(raw[i : i + size])]
    assert found == numbers


def test_raw_control_characters_and_bytes_are_taken():
    assert parse_word(b'{"data": -1, "message": "a\tb\x01\xff"}').message == "a\tb\x01�"


@given(st.binary(max_size=60))
def test_garbage_is_an_error_of_ours_or_a_word(line):
    with contextlib.suppress(Internal):
        parse_word(line)


def test_endless_word_is_refused():
    words = Words()
    with pytest.raises(Internal):
        words.feed(b"x" * 70000)

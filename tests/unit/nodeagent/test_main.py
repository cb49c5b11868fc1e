"""The entry point. Covers nodeagent/__main__.py."""

import subprocess
import sys


def run(script: str) -> subprocess.CompletedProcess[str]:
    argv = ["sh", "-c", script, "sh", sys.executable]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def test_closed_standard_streams_are_not_given_to_a_socket():
    done = run('"$1" -m nodeagent --host unix:///nowhere/x.sock ps <&- >&-')
    assert done.returncode == 1
    assert "cannot connect" in done.stderr


def test_a_full_output_is_an_error_without_a_traceback():
    done = run('"$1" -m nodeagent --help >/dev/full')
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


def test_a_cidfile_that_cannot_be_made_is_told_before_anything_is_made():
    done = run('"$1" -m nodeagent --host unix:///nowhere/x.sock create --cidfile /no/x busybox')
    assert done.returncode == 125
    assert "--cidfile: /no/x" in done.stderr

import os
from pathlib import Path

import pytest

from runtime.container.bundle import Places
from runtime.container.execs import classify, open_pipes, sweep
from runtime.errors import Missing, Refused


@pytest.mark.parametrize(
    "says",
    [
        "executable file `x` not found in $PATH: No such file or directory",
        'exec: "x": executable file not found in $PATH: unknown',
        'exec: "/x": stat /x: no such file or directory',
        "open executable: No such file or directory",
    ],
)
def test_missing_commands(says):
    found = classify(says)
    assert isinstance(found, Missing)
    assert found.fields["exit_code"] == 127


@pytest.mark.parametrize(
    "says",
    [
        'exec: "/etc/passwd": permission denied: unknown',
        "open executable: Permission denied",
        'exec: "/etc": is a directory',
        "executable file `/x`: Exec format error",
    ],
)
def test_commands_that_cannot_be_run(says):
    found = classify(says)
    assert isinstance(found, Refused)
    assert found.fields["exit_code"] == 126


@pytest.mark.parametrize("says", ["", "mount `x`: No such file or directory", "permission denied"])
def test_other_troubles(says):
    assert classify(says) is None


def test_pipes_are_closed():
    before = len(list(Path("/proc/self/fd").iterdir()))
    with open_pipes(3) as pipes:
        assert len(pipes) == 3
        assert len(list(Path("/proc/self/fd").iterdir())) == before + 6
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_sweep_takes_only_what_ended(tmp_path):
    places = Places(root=tmp_path / "root", run=tmp_path / "run")
    places.make()
    names = {"ended": "exit", "gone": "conmon.pid", "alive": "conmon.pid"}
    for name, file in names.items():
        path = places.run / "exec" / f"{'a' * 12}-{name}"
        path.mkdir()
        pid = os.getpid() if name == "alive" else (1 << 22) + 1
        (path / file).write_text(str(pid), encoding="ascii")
    sweep(places, "a" * 64)
    assert [path.name.rpartition("-")[2] for path in places.execs("a" * 64)] == ["alive"]

from pathlib import Path

import pytest

from runtime.container import oci
from runtime.container.oci import Oci, parse_version
from runtime.errors import Unavailable


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("crun version 1.8.1\ncommit: f8a0\n", "1.8.1"),
        ("runc version 1.1.5+ds1\n", "1.1.5+ds1"),
        ("", "unknown"),
        ("bash: no\n", "unknown"),
    ],
)
def test_versions(text, version):
    assert parse_version(text) == version


def test_wrapped_command_line():
    runtime = Oci(
        kind="crun", version="1", path="/usr/bin/crun", state=Path("/s"), prefix=("/w", "-m")
    )
    assert runtime.argv == ("/w", "-m", "/usr/bin/crun", "--root", "/s")
    assert runtime.name == "crun 1"


def test_missing_program_names_its_package():
    with pytest.raises(Unavailable, match="apt install the-package"):
        oci.find_binary("no-such-program", package="the-package")


async def test_child_has_closed_stdin_clean_environment_and_bounded_output():
    done = await oci.run(["/bin/sh", "-c", "cat; env; echo err >&2; exit 4"], env={"A": "b"})
    assert done.code == 4
    assert "A=b" in done.tail
    assert "HOME" not in done.tail
    assert done.tail.endswith("err")
    done = await oci.run(["/bin/sh", "-c", "head -c 300000 /dev/zero; echo end"])
    assert len(done.output) == oci.OUTPUT_MAX_BYTES
    assert done.output.endswith(b"end\n")


async def test_what_a_program_leaves_behind_does_not_hold_us_up():
    done = await oci.run(["/bin/sh", "-c", "echo x; sleep 1 & exit 0"])
    assert done.output == b"x\n"


async def test_asking_for_the_version_names_our_state_directory(tmp_path):
    program = tmp_path / "crun"
    program.write_text('#!/bin/sh\n[ "$3" = --version ] && echo "crun version $2"\n', "ascii")
    program.chmod(0o755)
    assert await oci.read_version(str(program), Path("/state")) == "/state"

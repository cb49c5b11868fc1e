import subprocess
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _no_mount_stays(tmp_path):
    yield
    lines = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
    left = [line.split()[4] for line in lines if line.split()[4].startswith(f"{tmp_path}/")]
    for target in reversed(left):
        subprocess.run(["umount", "-l", target], check=True)

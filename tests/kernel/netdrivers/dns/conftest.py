"""A namespace with nothing but its loopback."""

import subprocess
import uuid
from pathlib import Path

import pytest


@pytest.fixture
def netns():
    name = f"dnst{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield Path("/run/netns") / name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)

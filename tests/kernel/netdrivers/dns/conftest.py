"""Namespaces with nothing but their loopback."""

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def fresh() -> Iterator[Path]:
    name = f"dnst{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield Path("/run/netns") / name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def bare_netns():
    """Its loopback is down."""
    with fresh() as made:
        yield made


@pytest.fixture
def netns(bare_netns):
    subprocess.run(["ip", "-n", bare_netns.name, "link", "set", "lo", "up"], check=True)
    return bare_netns


@pytest.fixture
def other_netns():
    with fresh() as made:
        subprocess.run(["ip", "-n", made.name, "link", "set", "lo", "up"], check=True)
        yield made

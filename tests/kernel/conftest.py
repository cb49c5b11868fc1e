"""The kernel ring needs root: it makes namespaces, mounts and containers."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.skip("the kernel ring needs root")

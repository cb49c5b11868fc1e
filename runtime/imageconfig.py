"""What an image says of how it is to be run; part of the contract."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How to tell whether the program does its work; 0 means the default. No part of OCI."""

    test: tuple[str, ...]  # ("NONE",), ("CMD", word, …) or ("CMD-SHELL", line)
    interval_s: float = 0.0
    timeout_s: float = 0.0
    start_period_s: float = 0.0
    start_interval_s: float = 0.0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The part of an OCI image config that says how to run it."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    exposed_ports: tuple[str, ...] = ()  # "80/tcp"
    volumes: tuple[str, ...] = ()  # absolute paths
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    healthcheck: HealthCheck | None = None
    shell: tuple[str, ...] = ()  # what a CMD-SHELL line is given to; empty: /bin/sh -c

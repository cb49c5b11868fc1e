"""System call filters already compiled, so that crun need not compile the same one again.

Compiling the default profile is more than half of crun's time (22 ms of 30 for a create, measured
2026-11). crun leaves the program it made in its state directory and takes a ready one from an
annotation; the profile stays in the configuration, so a crun without the annotation compiles it.

Source: crun(1), run.oci.seccomp_bpf_data.
"""

import base64
from pathlib import Path
from typing import Final

import msgspec

from runtime.container.spec import Json

ANNOTATION: Final = "run.oci.seccomp_bpf_data"
COMPILED: Final = "seccomp.bpf"
KEPT_MAX: Final = 64  # profiles differ only by capabilities, so few are seen
STRUCT_SIZE: Final = 8  # one BPF instruction
PROGRAM_MAX: Final = 4096 * STRUCT_SIZE  # the kernel's limit


def _key(config: Json) -> bytes | None:
    linux = config["linux"]
    profile = linux.get("seccomp") if isinstance(linux, dict) else None
    return None if profile is None else msgspec.json.encode(profile, order="deterministic")


class Filters:
    """Profiles and their programs, for the life of one agent."""

    def __init__(self) -> None:
        self._programs: dict[bytes, str] = {}

    def add(self, config: Json) -> None:
        """Put the program for its profile into a configuration, if it is known."""
        key, annotations = _key(config), config["annotations"]
        if key in self._programs and isinstance(annotations, dict):
            annotations[ANNOTATION] = self._programs[key]

    def learn(self, config: Json, state: Path) -> None:
        """Keep the program that the runtime made for a configuration, if it left one."""
        key = _key(config)
        if key is None or key in self._programs or len(self._programs) >= KEPT_MAX:
            return
        try:
            program = (state / COMPILED).read_bytes()
        except OSError:
            return
        if 0 < len(program) <= PROGRAM_MAX and len(program) % STRUCT_SIZE == 0:
            self._programs[key] = base64.b64encode(program).decode("ascii")

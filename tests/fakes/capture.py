"""What goes over a link, seen by tcpdump."""

import subprocess
from collections.abc import Sequence
from pathlib import Path


class Capture:
    """Runs until ``stop``; ``enter`` is how to come where the link is."""

    def __init__(self, enter: Sequence[str], link: str, file: Path, expression: str = "") -> None:
        self.file = file
        words = [
            *enter,
            "tcpdump",
            "-U",
            "--immediate-mode",
            "-s0",
            "-Z",
            "root",
            "-i",
            link,
            "-w",
            file,
            expression,
        ]
        self._process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        assert any("listening on" in line for line in self._process.stderr)

    def stop(self) -> str:
        """End it; what was seen, as text."""
        self._process.terminate()
        self._process.wait()
        self._process.stderr.close()
        words = ["tcpdump", "-nn", "-r", self.file]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    def has(self, *payloads: bytes) -> bool:
        """Whether any of these bytes went over the link."""
        data = self.file.read_bytes()
        return any(each in data for each in payloads)

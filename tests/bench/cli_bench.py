"""How long a client command takes to start, beside the interpreter itself. Run: python FILE."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.fakes.agent import FakeAgent  # noqa: E402

RUNS = 15
ROW = dict.fromkeys(
    ["ID", "Names", "Image", "Command", "CreatedAt", "State", "Status", "Ports", "RunningFor"], "x"
)


def measure_ms(*argv: str) -> float:
    """Median wall time of a command."""
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        subprocess.run([sys.executable, *argv], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times)


def main() -> None:
    """Print a line for each command: milliseconds, and the ratio to an empty program."""
    empty = measure_ms("-c", "pass")
    print(f"{'python -c pass':<28}{empty:7.1f} ms")
    with (
        tempfile.TemporaryDirectory() as place,
        FakeAgent(Path(place) / "sock", {"container.ls": [ROW] * 20, "system.ping": {}}) as agent,
    ):
        os.environ["NODEAGENT_HOST"] = agent.host
        for words in ("container ls", "system ping", "run --help", "version --client"):
            took = measure_ms("-m", "nodeagent", *words.split())
            print(f"{'nodeagent ' + words:<28}{took:7.1f} ms   {took / empty:4.1f} x")


if __name__ == "__main__":
    main()

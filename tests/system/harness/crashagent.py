"""The agent, made to kill itself at the n-th call of a function of its own.

Run as ``python crashagent.py serve …``. No fault points in the product: the interpreter's profile
hook counts every call (and every resumption of a coroutine) on the event loop's thread. SIGUSR2
reads a number from ``$NODEAGENT_CRASH/arm``: n > 0 dies at the n-th call from now, 0 only counts,
-1 stops counting and reports. Answers and the place of death go to the socket
``$NODEAGENT_CRASH/notes``. ``$NODEAGENT_CRASH_AT=n`` arms before the first line of the agent runs.
"""

import os
import signal
import socket
import sys
from pathlib import Path
from types import CodeType, FrameType

CHECKOUT = Path(__file__).resolve().parents[3]
PACKAGES = ("nodeagent", "netdrivers", "voldrivers", "runtime")


class Counter:
    """Counts calls of the product's functions and dies at the chosen one."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._ours = tuple(f"{CHECKOUT}/{name}/" for name in PACKAGES)
        self._known: dict[CodeType, bool] = {}
        self._count = 0
        self._target = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Obey the file ``arm``."""
        self.arm(int((self._place / "arm").read_text(encoding="ascii")))

    def arm(self, target: int) -> None:
        """Start counting (0: without end), or stop and report (-1)."""
        sys.setprofile(None)
        if target < 0:
            self._tell(f"count {self._count}")
            return
        self._count, self._target = 0, target
        self._tell(f"armed {target}")
        sys.setprofile(self._called)

    def _called(self, frame: FrameType, event: str, argument: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        ours = self._known.get(code)
        if ours is None:
            ours = self._known[code] = code.co_filename.startswith(self._ours)
        if not ours:
            return
        self._count += 1
        if self._count == self._target:
            self._die(code, frame.f_lineno)

    def _die(self, code: CodeType, line: int) -> None:
        file = code.co_filename.removeprefix(f"{CHECKOUT}/")
        self._tell(f"died {file}:{line} {code.co_qualname} call {self._count}")
        os.kill(os.getpid(), signal.SIGKILL)

    def _tell(self, text: str) -> None:
        self._socket.sendto(text.encode(), str(self._place / "notes"))


def main() -> None:
    """Arm, then be the agent."""
    sys.path[0] = str(CHECKOUT)
    counter = Counter(Path(os.environ["NODEAGENT_CRASH"]))
    signal.signal(signal.SIGUSR2, counter.on_signal)
    from nodeagent.__main__ import main as agent_main  # after the path is set

    if first := int(os.environ.get("NODEAGENT_CRASH_AT", "0")):
        counter.arm(first)
    sys.exit(agent_main())


if __name__ == "__main__":
    main()

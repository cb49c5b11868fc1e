"""Signal names as people write them. Pure."""

import signal

from nodeagent.errors import Invalid


def parse_signal(text: str, *, field: str) -> int:
    """Number of ``TERM``, ``SIGTERM`` or ``15``.

    Raises:
        Invalid: no such signal (0 is none).
    """
    name = text.upper().removeprefix("SIG")
    if text.isdecimal():
        number = int(text)
    elif name.startswith("RTMIN+") and name[6:].isdecimal():
        number = int(signal.SIGRTMIN) + int(name[6:])
    else:
        found = signal.Signals.__members__.get(f"SIG{name}")
        number = int(found) if found is not None else 0
    if not 1 <= number <= int(signal.SIGRTMAX):
        raise Invalid("invalid signal", field=field, value=text)
    return number

"""The command ``nodeagent``: the agent itself (``serve``) or a client command."""

import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    open_missing()
    if words[:1] == ["serve"]:
        # The agent's world (trio, pyroute2) is 300 ms of imports that no client command needs.
        from nodeagent.daemon import main as serve

        return serve(words[1:])
    if words[:2] == ["plugin", "serve"]:
        from nodeagent.pluginserve import main as serve_plugin

        return serve_plugin(words[2:])
    from nodeagent.cli.app import main as client

    return client(words)


def open_missing() -> None:
    """Put /dev/null where a standard stream is closed, before a socket gets its number."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


if __name__ == "__main__":
    sys.exit(main())

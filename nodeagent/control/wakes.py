"""A wake-up carries no data: any number of them before the next look are one."""

import trio


class Wakes:
    """Said by whoever saw something change, waited for by the one loop that looks."""

    def __init__(self) -> None:
        self._sender, self._receiver = trio.open_memory_channel[None](1)

    def wake(self) -> None:
        """Let the loop look again soon."""
        try:
            self._sender.send_nowait(None)
        except trio.WouldBlock:
            return

    async def wait(self, period_s: float) -> None:
        """Return once somebody woke since the last return, or when the time is over."""
        with trio.move_on_after(period_s):
            await self._receiver.receive()

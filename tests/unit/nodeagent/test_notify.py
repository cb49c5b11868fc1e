"""What systemd is told."""

import socket

import trio

from nodeagent.notify import Notifier


def listening(tmp_path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(tmp_path / "notify"))
    sock.settimeout(5)
    return sock


def test_lines_arrive_together(tmp_path):
    with listening(tmp_path) as sock:
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}).tell("READY=1", "STATUS=up")
        assert sock.recv(100) == b"READY=1\nSTATUS=up"


def test_without_systemd_nothing_happens():
    Notifier({}).tell("READY=1")


async def test_the_watchdog_is_fed_twice_a_period(tmp_path, autojump_clock):
    with listening(tmp_path) as sock:
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "4000000"}
        with trio.move_on_after(7):
            await Notifier(environ).feed_watchdog()
        assert [sock.recv(100) for _ in range(4)] == [b"WATCHDOG=1"] * 4


async def test_a_watchdog_of_another_process_is_not_ours(autojump_clock):
    with trio.fail_after(1):
        await Notifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).feed_watchdog()

"""Our drivers as a Docker plugin: a process of its own, used through the protocol by an agent.

Covers voldrivers/plugin/served.py, voldrivers/plugin/server.py
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness.agent import CHECKOUT, Agent
from tests.system.nodeagent.control.test_volumes import until

RUN = ("run", "--rm")


class Serving:
    """``nodeagent plugin serve`` with the image driver, as the plugin "disk"."""

    def __init__(self, base: Path) -> None:
        self.folder, self.root = base / "plugins", base / "plugin-root"
        self.socket = self.folder / "disk.sock"
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "nodeagent", "plugin", "serve", "--driver", "image",
             "--root", self.root, "--socket", self.socket],
            cwd=CHECKOUT,
        )  # fmt: skip
        until(self.answers)

    def answers(self) -> bool:
        """Not only a socket: one that was killed leaves its own."""
        try:
            return bool(self.ask("Plugin.Activate")["Implements"])
        except OSError:
            return False

    def end(self, number: int = signal.SIGKILL) -> int:
        assert self.child
        self.child.send_signal(number)
        return self.child.wait()

    def ask(self, call: str, **fields: object) -> Any:
        body = json.dumps(fields).encode()
        head = f"POST /{call} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        return json.loads(self.raw(head + body).partition(b"\r\n\r\n")[2])

    def raw(self, data: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(self.socket))
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            found = b""
            while chunk := client.recv(65536):
                found += chunk
            return found

    def mounts(self) -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
        return [line.split()[4] for line in lines if line.split()[4].startswith(f"{self.root}/")]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    made = Serving(tmp_path)
    made.start()
    yield made
    made.end()
    for target in made.mounts():
        subprocess.run(["umount", "-l", target], check=True)


def test_an_agent_uses_it(serving: Serving, make_agent: Callable[..., Agent]) -> None:
    agent = make_agent(settings=f'[volume]\nplugin_folders = ["{serving.folder}"]\n')
    bad = agent.cli("volume", "create", "-d", "disk", "db", check=False)
    assert "size" in bad.stderr
    agent.cli("volume", "create", "-d", "disk", "-o", "size=16m", "db")
    agent.cli(*RUN, "-v", "db:/d", "busybox", "sh", "-c", "echo kept > /d/file")
    assert serving.mounts() == []
    agent.cli("run", "-d", "--name", "one", "-v", "db:/d", "busybox", "sleep", "1000")
    serving.end()  # killed under a mount, and back
    serving.start()
    assert agent.say("exec", "one", "cat", "/d/file") == "kept"
    view = agent.inspect("volume", "db")
    assert (view["Health"], view["UsageData"]["Limit"] > 0) == ("healthy", True)
    assert "in use" in serving.ask("VolumeDriver.Remove", Name="db")["Err"]
    agent.cli("rm", "-f", "one")
    assert serving.mounts() == []
    agent.cli("volume", "rm", "db")
    assert serving.ask("VolumeDriver.List") == {"Err": "", "Volumes": []}
    assert serving.end(signal.SIGTERM) == 0
    assert not serving.socket.exists()
    serving.start()


def test_as_the_protocol_says(serving: Serving) -> None:
    ask = serving.ask
    assert ask("Plugin.Activate")["Implements"] == ["VolumeDriver"]
    assert ask("VolumeDriver.Capabilities")["Capabilities"] == {"Scope": "local"}
    for _ in range(2):  # idempotent
        assert ask("VolumeDriver.Create", Name="v", Opts={"size": "8m"}) == {"Err": ""}
    assert ask("VolumeDriver.Path", Name="v") == {"Err": "", "Mountpoint": ""}
    place = ask("VolumeDriver.Mount", Name="v", ID="a")["Mountpoint"]
    assert ask("VolumeDriver.Mount", Name="v", ID="b")["Mountpoint"] == place
    assert ask("VolumeDriver.Path", Name="v")["Mountpoint"] == place
    (Path(place) / "file").write_text("x", encoding="utf-8")
    assert ask("VolumeDriver.Unmount", Name="v", ID="a") == {"Err": ""}
    assert (Path(place) / "file").exists()
    got = ask("VolumeDriver.Get", Name="v")["Volume"]
    assert (got["Name"], got["Mountpoint"], got["Status"]["Health"]) == ("v", place, "healthy")
    assert ask("VolumeDriver.Unmount", Name="v", ID="b") == {"Err": ""}
    assert serving.mounts() == []
    assert ask("VolumeDriver.Remove", Name="v") == {"Err": ""}
    for call in ("Remove", "Mount", "Unmount", "Path", "Get"):
        assert "volume not found" in ask(f"VolumeDriver.{call}", Name="v")["Err"]
    assert "name" in ask("VolumeDriver.Create", Name="../x", Opts={"size": "8m"})["Err"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", b"404"),
        (b"POST /VolumeDriver.Get HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{", b"400"),
        (b"POST /Plugin.Activate HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n"
         + b" " * 2_000_000, b"413"),
        (b"garbage\r\n\r\n", b""),
        (b"", b""),
    ],
)  # fmt: skip
def test_bad_requests(serving: Serving, request_: bytes, status: bytes) -> None:
    try:
        said = serving.raw(request_)
    except ConnectionError:
        said = b""
    assert said[9:12] == status or (status == b"413" and not said)
    assert serving.ask("Plugin.Activate")["Err"] == ""


def test_two_of_one_socket(serving: Serving) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "nodeagent", "plugin", "serve", "--driver", "local",
         "--root", serving.root, "--socket", serving.socket],
        cwd=CHECKOUT, capture_output=True, check=False, env={**os.environ},
    )  # fmt: skip
    assert second.returncode == 1
    assert b"another plugin serves there" in second.stderr
    assert serving.ask("Plugin.Activate")["Err"] == ""

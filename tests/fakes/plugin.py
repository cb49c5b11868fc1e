"""A volume plugin that misbehaves as a test says. The well-behaved one is rclone's."""

import json
import socket
import threading
from collections import Counter

GOOD = {
    "/Plugin.Activate": {"Implements": ["VolumeDriver"]},
    "/VolumeDriver.Capabilities": {"Capabilities": {"Scope": "global"}},
    "/VolumeDriver.Create": {"Err": ""},
    "/VolumeDriver.Remove": {"Err": ""},
    "/VolumeDriver.Mount": {"Mountpoint": "/nowhere", "Err": ""},
    "/VolumeDriver.Unmount": {"Err": ""},
    "/VolumeDriver.Get": {"Volume": {"Name": "v", "Mountpoint": "/nowhere"}, "Err": ""},
}


class FakePlugin:
    """Listens at ``path``; ``raw[call]`` are the bytes it answers with, None = never answers."""

    def __init__(self, path):
        self.path = path
        self.answers = dict(GOOD)
        self.raw = {}
        self.calls = Counter()
        self.bodies = []
        self._held = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            try:
                self._answer(connection)
            except OSError:  # who asked left
                connection.close()

    def _answer(self, connection):
        request = connection.makefile("rb")  # closed with its last reference
        call = request.readline().split()[1].decode()
        length = 0
        while (line := request.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        self.bodies.append((call, json.loads(request.read(length))))
        self.calls[call] += 1
        raw = self.raw.get(call, b"")
        if raw is None:
            self._held.append((connection, request))
            return
        body = json.dumps(self.answers[call]).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        connection.sendall(raw or head + body)
        request.close()
        connection.close()

    def close(self):
        """Stop, and let go of those who wait."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.path.unlink()
        for connection, request in self._held:
            request.close()
            connection.close()

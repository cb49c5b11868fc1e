"""A msgpack-rpc client of other authors (pynvim's) speaks to our server, in a process of its own.

It greets every server with a notification whose name is bytes, sends names as text or bytes, and
wraps its arguments in a list: the habits the protocol page speaks of.
"""

import json
import sys
from importlib.util import find_spec

import pytest
import trio

from nodeagent.rpc.server import Entrance, Options, build_server, serve_rpc

pytestmark = pytest.mark.skipif(find_spec("pynvim") is None, reason="pynvim is not installed")

CLIENT = """
import json, sys
from pynvim.msgpack_rpc import socket_session

session = socket_session(sys.argv[1])
session.error_wrapper = lambda error: ValueError(error)
report = {}
report["ping"] = session.request("system.ping")
report["by bytes"] = session.request(b"system.ping", {})
report["methods"] = [view["name"] for view in session.request("rpc.describe")["methods"]]
for name, params in (("no.such", {}), ("container.logs", {"name": 3})):
    try:
        session.request(name, params)
    except ValueError as error:
        report[name] = error.args[0]
report["result"] = session.request("container.logs", {"name": "web"})
report["items"] = []
while len(report["items"]) < 3:
    message = session.next_message()
    report["items"].append([message.name, message.args])
session.request("system.ping", async_=True)
report["still there"] = session.request("system.ping", {})
session.close()
print(json.dumps(report))
"""


async def ping(_params, _call):
    return {"pong": True}


async def logs(params, call):
    for number in range(3):
        await call.send({"name": params.name, "number": number})
    return {"end": True}


async def test_a_client_of_other_authors_works(tmp_path, nursery):
    path = tmp_path / "s"
    await nursery.start(
        lambda task_status: serve_rpc(
            Entrance(path, group="no-such-group"),
            build_server({"system.ping": ping, "container.logs": logs}, Options(version="1")),
            task_status=task_status,
        )
    )
    with trio.fail_after(60):
        done = await trio.run_process(
            [sys.executable, "-c", CLIENT, str(path)], capture_stdout=True
        )
    report = json.loads(done.stdout)
    call_id = report["items"][0][1][0]
    assert report.pop("methods")[-1] == "rpc.describe"
    assert report == {
        "ping": {"pong": True},
        "by bytes": {"pong": True},
        "no.such": [
            "missing",
            "unknown method 'no.such'; rpc.describe lists all",
            {"method": "no.such"},
        ],
        "container.logs": [
            "invalid",
            "params.name: Expected `str`, got `int`",
            {"field": "params.name"},
        ],
        "result": {"end": True},
        "items": [["stream", [call_id, {"name": "web", "number": n}]] for n in range(3)],
        "still there": {"pong": True},
    }

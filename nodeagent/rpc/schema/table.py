"""Every RPC method: parameters, result, stream items. Pure; the whole published surface.

A call is msgpack-rpc: ``[0, id, method, [params]]`` where ``params`` is one map (or nothing).
A streaming method sends notifications ``[2, "stream", [id, item]]`` before its response.
"""

from collections.abc import Mapping
from typing import Final

from nodeagent.rpc.schema import cluster, container, files, image, network, system, volume
from nodeagent.rpc.schema.shapes import Method

_NOUNS = (container, files, image, network, volume, cluster, system)

METHODS: Final[Mapping[str, Method]] = {each.name: each for noun in _NOUNS for each in noun.METHODS}

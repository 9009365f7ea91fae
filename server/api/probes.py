"""Liveness and readiness, for the internal port.

Liveness says that the event loop turns. It never asks a broker or a log, since a restart would not mend them. There is
no startup probe: a server that answers has started.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from server.domain.replicas import ReplicaState


@dataclass(slots=True)
class Readiness:
    """Whether this replica wants traffic."""

    started: bool = False
    """Whether the other replicas have been reached."""
    stopping: bool = False
    """Whether the process was told to stop."""

    @property
    def state(self) -> ReplicaState:
        """Return what the other replicas are told."""
        if self.stopping:
            return ReplicaState.DRAINING
        return ReplicaState.SERVING if self.started else ReplicaState.STARTING

    @property
    def ready(self) -> bool:
        """Say whether it wants traffic: it has started, and is not stopping."""
        return self.started and not self.stopping


def routes(readiness: Readiness, details: Callable[[], Mapping[str, int]]) -> list[web.RouteDef]:
    """Return the routes `GET /livez` and `GET /readyz`.

    `details` are further numbers for `/readyz`, e.g. connections. They say whether the other replicas can be reached
    now: readiness waits for that at the start, and does not depend on it later.
    """

    async def livez(_: web.Request) -> web.Response:
        return _json({"status": "ok"}, 200)

    async def readyz(_: web.Request) -> web.Response:
        state = "ready" if readiness.ready else "stopping" if readiness.stopping else "starting"
        facts = {"started": readiness.started, "draining": readiness.stopping}
        return _json({"status": state, **facts, **details()}, 200 if readiness.ready else 503)

    return [web.get("/livez", livez), web.get("/readyz", readyz)]


def _json(body: Mapping[str, Any], status: int) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.json_response(body, status=status, headers=headers, dumps=lambda value: orjson.dumps(value).decode())

"""Stock python-socketio on aiohttp, as its documentation shows it: stock_server.py PORT PADDING_BYTES [REDIS_URL].

WebSocket only, Maru's heartbeat, uvloop (which it does not take by itself), so that the servers alone differ.
"""

import sys
from typing import Any

import socketio
import uvloop
from aiohttp import web

NAMESPACE = "/chat"


def application(envelope: int, redis_url: str | None) -> web.Application:
    """Join, leave, send; each acknowledged. `envelope` bytes make an event weigh what Maru's does."""
    manager = socketio.AsyncRedisManager(redis_url) if redis_url else None
    server = socketio.AsyncServer(
        async_mode="aiohttp",
        transports=["websocket"],
        ping_interval=10,
        ping_timeout=10,
        client_manager=manager,
        cors_allowed_origins="*",
    )
    pad = "p" * envelope

    async def connect(*_: Any) -> None:
        """Everybody may."""

    async def join(sid: str, data: dict[str, Any]) -> dict[str, Any]:
        await server.enter_room(sid, data["channel"], namespace=NAMESPACE)
        return {"ok": True}

    async def leave(sid: str, data: dict[str, Any]) -> dict[str, Any]:
        await server.leave_room(sid, data["channel"], namespace=NAMESPACE)
        return {"ok": True}

    async def send(sid: str, data: dict[str, Any]) -> dict[str, Any]:
        event = {"channel": data["channel"], "author": sid, "message": data, "pad": pad}
        await server.emit("message:created", event, room=data["channel"], namespace=NAMESPACE)
        return {"ok": True}

    server.on("connect", connect, namespace=NAMESPACE)
    server.on("channel:join", join, namespace=NAMESPACE)
    server.on("channel:leave", leave, namespace=NAMESPACE)
    server.on("message:send", send, namespace=NAMESPACE)
    app = web.Application()
    server.attach(app)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(
        application(int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        backlog=4_096,
        access_log=None,
        print=None,
    )

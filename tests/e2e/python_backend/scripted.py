"""An HTTP API in this process that answers as a test tells it to, for what no healthy server would say."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web

Json = dict[str, Any]

AT = "2026-11-22T12:00:00.000Z"

LOST = ...
"""In place of an answer: the connection ends."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A request that has come."""

    method: str
    raw_path: str
    headers: Mapping[str, str]
    body: Json | None
    peer: int

    @property
    def key(self) -> str | None:
        """Its idempotency key."""
        return self.headers.get("Idempotency-Key")


class Scripted:
    """`answers` are taken one after the other, the last again and again: a status with a body, a whole response, a
    function that makes one of the body, or `LOST`."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.heard: list[Heard] = []
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def serving(cls, *answers: Any) -> AsyncIterator[Self]:
        """Serve at `url`, on a free port."""
        self = cls(*answers)
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        body = json.loads(text) if text else None
        assert request.transport is not None
        peer = request.transport.get_extra_info("peername")[1]
        self.heard.append(Heard(request.method, request.raw_path, request.headers, body, peer))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is LOST:
            request.transport.abort()
            return web.Response()
        if callable(answer):
            answer = await answer(body)
        if isinstance(answer, web.StreamResponse):
            return answer
        status, content = answer
        return web.json_response(content, status=status)


def refusal(code: str, *, retryable: bool = True, **more: object) -> Json:
    """The body of a refused request."""
    return {"error": {"code": code, "message": "as the test says", "retryable": retryable, **more}}


def sent(offset: int = 1, *, duplicate: bool = False, **message: object) -> tuple[int, Json]:
    """The answer to a send."""
    body = {
        "id": f"m{offset}",
        "channel": "room:a",
        "author": {"id": "ann", "name": None},
        "text": "hi",
        "data": None,
        "reply_to": None,
        "key": None,
        "created_at": AT,
        "edited_at": None,
        "version": 1,
        "offset": offset,
    }
    return 200, {"message": body | message, "epoch": "e1", "offset": offset, "duplicate": duplicate}


def broadcasting(outcome: Callable[[str], Json | None]) -> Callable[[Json], Any]:
    """Answer broadcasts: `outcome` gives a channel's error, or None."""

    async def answer(body: Json) -> tuple[int, Json]:
        results = []
        for number, name in enumerate(body["channels"], 1):
            error = outcome(name)
            place = {"id": f"m{number}", "epoch": "e1", "offset": number, "duplicate": False}
            results.append({"channel": name, "ok": False, **error} if error else {"channel": name, "ok": True, **place})
        return 200, {"results": results, "failed": sum(not each["ok"] for each in results)}

    return answer

"""A backend that is asked before commands, in a process of its own. The channel says how it answers, by its third
segment: `room:h:<how>:...`.

`python -m tests.harness.hook_backend PORT` serves; `GET /asked` returns the questions so far.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp import web
from standardwebhooks import Webhook

from tests.harness.process import Process
from tests.harness.receiver import SECRET
from tests.harness.server import ROOT
from tests.harness.waiting import polled

HANG_S = 30.0
SLOW_S = 0.3
DRIP_S = 0.1
START_S = 15.0
HUGE = 64 * 1024
ACCEPT = {"action": "accept"}
REJECT = {"action": "reject", "reason": "Be kind."}

Reply = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


class HookBackend(Process["subprocess.Popen[bytes]"]):
    """The process. Use as an async context manager; `stop` and `start` let it refuse connections meanwhile."""

    @property
    def env(self) -> dict[str, str]:
        """For the environment of a server that is to ask it."""
        return {"MARU_HOOK_URL": f"{self.url}/maru", "MARU_HOOK_SECRET": SECRET}

    async def start(self) -> None:
        command = (sys.executable, "-m", "tests.harness.hook_backend", str(self.port))
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)  # noqa: ASYNC220  # ours
        await polled(self._answers, START_S, lambda: "it does not answer")

    async def stop(self) -> None:
        """End it, and wait until it is gone."""
        assert self._process is not None
        self._process.kill()
        await asyncio.to_thread(self._process.wait)

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def asked(self, channel: str) -> list[dict[str, Any]]:
        """Return the questions about a channel."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/asked") as response:
            return [question for question in await response.json() if question["channel"] == channel]

    async def _answers(self) -> bool:
        try:
            await self.asked("")
        except aiohttp.ClientError:
            return False
        return True


def _json(answer: object) -> Reply:
    async def reply(_request: web.Request, _asked: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(answer)

    return reply


def _body(status: int, body: bytes, **headers: str) -> Reply:
    async def reply(_request: web.Request, _asked: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return reply


async def _hang(_request: web.Request, _asked: dict[str, Any]) -> web.StreamResponse:
    await asyncio.sleep(HANG_S)
    return web.json_response(ACCEPT)


async def _slow(_request: web.Request, _asked: dict[str, Any]) -> web.StreamResponse:
    await asyncio.sleep(SLOW_S)
    return web.json_response(ACCEPT)


async def _drip(request: web.Request, _asked: dict[str, Any]) -> web.StreamResponse:
    """Answer byte by byte."""
    response = web.StreamResponse()
    await response.prepare(request)
    for byte in json.dumps(ACCEPT).encode():
        await response.write(bytes((byte,)))
        await asyncio.sleep(DRIP_S)
    return response


async def _reset(request: web.Request, _asked: dict[str, Any]) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _no_http(request: web.Request, _asked: dict[str, Any]) -> web.StreamResponse:
    assert isinstance(request.transport, asyncio.Transport)
    request.transport.write(b"hello\r\nthere\r\n\r\n")
    request.transport.close()
    return web.Response()


async def _judge_text(_request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
    """Reject a word, replace another, accept all else."""
    match asked["text"]:
        case "rude":
            return web.json_response(REJECT)
        case "shout":
            return web.json_response({"action": "replace", "text": "whisper", "data": {"was": "loud"}})
        case _:
            return web.json_response(ACCEPT)


REPLIES: dict[str, Reply] = {
    "judge": _judge_text,
    "reject": _json(REJECT),
    "cache": _json({"action": "accept", "cache_s": 300}),
    "slow": _slow,
    "hang": _hang,
    "drip": _drip,
    "reset": _reset,
    "no-http": _no_http,
    "error": _body(500, b""),
    "redirect": _body(302, b"", Location="/asked"),
    "garbage": _body(200, b'{"action": "acc'),
    "no-verdict": _json({"action": "maybe"}),
    "huge": _body(200, json.dumps(ACCEPT).encode() + b" " * HUGE),
    "too-long": _json({"action": "replace", "text": "x" * 4_001}),
}
"""By the channel's third segment; everything else is accepted."""

FAILURES = ("hang", "drip", "reset", "no-http", "error", "redirect", "garbage", "no-verdict", "huge", "too-long")
"""Those that are no verdict."""


def _application() -> web.Application:
    hook, questions = Webhook(SECRET), list[dict[str, Any]]()

    async def ask(request: web.Request) -> web.StreamResponse:
        question: dict[str, Any] = hook.verify(await request.text(), dict(request.headers))
        questions.append(question)
        how = question["channel"].split(":")[2]
        return await REPLIES.get(how, _json(ACCEPT))(request, question)

    async def asked(_: web.Request) -> web.StreamResponse:
        return web.json_response(questions)

    app = web.Application()
    app.router.add_post("/maru", ask)
    app.router.add_get("/asked", asked)
    return app


if __name__ == "__main__":
    web.run_app(_application(), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)

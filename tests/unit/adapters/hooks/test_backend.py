"""Asking by HTTP: signed, over connections that are kept, to the backend alone, and again only if it was not there."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from server.adapters.hooks.backend import HttpHooks, http_hooks
from server.domain.channels import ChannelName
from server.domain.hooks import Accept, AskOutcome, Hook, NoVerdict, Question
from server.domain.identity import SessionId, UserId
from server.domain.signing import SigningKey
from tests.harness.process import free_port
from tests.harness.receiver import SECRET

QUESTION = Question(Hook.JOIN, UserId("alice"), SessionId("s"), ChannelName("room:1"))
BEFORE = "whsec_" + "b3RoZXJz" * 4
ACCEPT = b'{"action": "accept"}'

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler, port: int) -> AsyncIterator[None]:
    """A backend on this port."""
    app = web.Application()
    app.router.add_post("/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def asking(handler: Handler) -> AsyncIterator[HttpHooks]:
    """A way to a backend that answers so."""
    port = free_port()
    keys = [SigningKey.parse(SECRET), SigningKey.parse(BEFORE)]
    async with serving(handler, port), http_hooks(f"http://127.0.0.1:{port}/hook?x=1", keys, "Maru/test") as hooks:
        yield hooks


async def test_questions_are_signed_with_both_keys() -> None:
    """A backend that has either believes them; ids differ; the connection is kept."""
    peers, ids = set(), set()

    async def handler(request: web.Request) -> web.Response:
        body = await request.text()
        for secret in (SECRET, BEFORE):
            assert Webhook(secret).verify(body, dict(request.headers))["user"] == "alice"
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        ids.add(request.headers["webhook-id"])
        assert (request.method, request.path_qs) == ("POST", "/hook?x=1")
        assert request.headers["user-agent"] == "Maru/test"
        return web.Response(body=ACCEPT)

    async with asking(handler) as hooks:
        for _ in range(3):
            assert await hooks.ask(QUESTION) == Accept()
    assert (len(peers), len(ids)) == (1, 3)


async def test_nothing_is_unpacked() -> None:
    """An answer that was not asked to be compressed is no verdict, however small it is on the way."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(ACCEPT), headers={"content-encoding": "gzip"})

    async with asking(handler) as hooks:
        with pytest.raises(NoVerdict) as found:
            await hooks.ask(QUESTION)
        assert found.value.outcome is AskOutcome.BAD_ANSWER


async def test_a_long_head_is_no_verdict() -> None:
    """Of the head, too, only so much is read."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=ACCEPT, headers={"x": "y" * 9_000})

    async with asking(handler) as hooks:
        with pytest.raises(NoVerdict) as found:
            await hooks.ask(QUESTION)
        assert found.value.outcome is AskOutcome.UNREACHABLE


async def test_a_refused_connection_is_tried_once_more() -> None:
    """A backend that is just being restarted is met at the second try; a request that was sent is never repeated."""
    port, asked = free_port(), 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(body=ACCEPT if asked == 1 else b"", status=200 if asked == 1 else 503)

    async with AsyncExitStack() as stack:
        hooks = await stack.enter_async_context(
            http_hooks(f"http://127.0.0.1:{port}/", [SigningKey.parse(SECRET)], "Maru/test")
        )
        with pytest.raises(NoVerdict) as found:
            await hooks.ask(QUESTION)
        assert found.value.outcome is AskOutcome.UNREACHABLE
        assert "refused" in str(found.value).lower()
        asking = asyncio.create_task(hooks.ask(QUESTION))
        await asyncio.sleep(0)
        await stack.enter_async_context(serving(handler, port))
        assert await asking == Accept()
        with pytest.raises(NoVerdict):
            await hooks.ask(QUESTION)
        assert asked == 2

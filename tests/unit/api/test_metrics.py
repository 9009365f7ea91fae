"""`GET /metrics` over a real aiohttp server: what is asked of the exposition, and what is made of its answer."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web
from multidict import CIMultiDict

from server.api.metrics import Render, routes


@asynccontextmanager
async def asking(render: Render) -> AsyncIterator[tuple[ClientSession, str]]:
    """A client, and the page's URL."""
    app = web.Application()
    app.add_routes(routes(render))
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with ClientSession() as client:
            yield client, f"http://127.0.0.1:{runner.addresses[0][1]}/metrics"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        ([("Accept", "text/plain")], "text/plain"),
        ([("Accept", "application/openmetrics-text;version=1.0.0;q=0.5"), ("Accept", "*/*;q=0.1")], None),
        ([("Accept", "")], ""),
    ],
)
async def test_the_accept_header_is_handed_on_and_the_answer_is_given(
    sent: list[tuple[str, str]], asked: str | None
) -> None:
    """Several are one (RFC 9110, section 5.3); the media type is the exposition's, and nothing keeps the page."""
    heard: list[str] = []

    def render(accept: str) -> tuple[bytes, str]:
        heard.append(accept)
        return b"maru 1\n", "text/x-numbers; version=7; charset=utf-8"

    async with asking(render) as (client, url), client.get(url, headers=CIMultiDict(sent)) as response:
        assert (response.status, await response.read()) == (200, b"maru 1\n")
        assert response.headers["Content-Type"] == "text/x-numbers; version=7; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Vary"] == "Accept"
    assert heard == [asked if asked is not None else ",".join(value for _, value in sent)]


async def test_the_loop_does_not_wait_for_it() -> None:
    """A scrape that takes long keeps nobody else from being served."""
    began, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def render(_: str) -> tuple[bytes, str]:
        loop.call_soon_threadsafe(began.set)
        assert go_on.wait(10)
        return b"late", "text/plain"

    async with asking(render) as (client, url), asyncio.timeout(10):
        scrape = asyncio.ensure_future(client.get(url))
        await began.wait()
        async with client.get(url + "/none") as other:
            assert other.status == 404
        go_on.set()
        async with await scrape as response:
            assert await response.read() == b"late"

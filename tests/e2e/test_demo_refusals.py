"""The demo page in Chromium when the server says no: people read why, in words, and what will happen next."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from playwright.async_api import expect

from maru_backend import MaruBackend
from tests.harness.page import DESKTOP, ChatPage, chromium
from tests.harness.server import ServerProcess

KEY = "a-key-of-the-tests-for-the-demo-page"

HOOK_SECRET = "whsec_bWFydS10ZXN0cy1vZi10aGUtZGVtby1wYWdlLTEyMw=="

RULES = {"room:lobby": {"hooks": ["send"]}, "room:club": {"hooks": ["join"]}}

REASONS = {"send": "No links in this room, please", "join": "Members only"}

Visit = Callable[[str], Awaitable[ChatPage]]


@asynccontextmanager
async def page_of(folder: Path, env: dict[str, str]) -> AsyncIterator[tuple[ServerProcess, Visit]]:
    """A development server, and pages of it; in the end neither server nor page has anything to complain of."""
    pages: list[ChatPage] = []
    async with ServerProcess(folder, {"MARU_DEV": "1", **env}) as server, chromium() as browser:

        async def visit(user: str) -> ChatPage:
            pages.append(await ChatPage.open(browser, server.url, user, folder, DESKTOP))
            return pages[-1]

        yield server, visit
        for page in pages:
            assert (await page.breaches(), page.complaints) == ([], [])
        assert server.faults() == []


async def test_who_writes_too_fast_reads_when_it_goes_out(tmp_path: Path) -> None:
    """A message over the rate waits, says so, and goes out by itself, in order; nobody reads a code."""
    async with page_of(tmp_path, {"MARU_LIMITS": '{"send_user": [0.25, 1]}'}) as (_, visit):
        page = await visit("alice")
        texts = ["One", "Two: I can not stop", "Three"]
        for text in texts:
            await page.say(text)
        waiting = await page.sees(texts[1], "pending")
        await expect(waiting).to_contain_text(re.compile(r"That was fast: it goes out in \d seconds?"))
        await expect(await page.sees(texts[2], "pending")).to_contain_text("Waits for the message before it")
        await page.picture("refused-too-fast")
        await page.sees(texts[1])
        assert [row["text"] for row in await page.listed()] == texts


@asynccontextmanager
async def moderation() -> AsyncIterator[str]:
    """An application that is asked before joins and sends: it refuses links, and lets nobody into the club."""

    async def judge(request: web.Request) -> web.Response:
        asked = await request.json()
        bad = asked["hook"] == "join" or "http" in asked["text"]
        verdict = {"action": "reject", "reason": REASONS[asked["hook"]]} if bad else {"action": "accept"}
        return web.json_response(verdict)

    app = web.Application()
    app.router.add_post("/", judge)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_rules_of_the_application_speak_for_themselves(tmp_path: Path) -> None:
    """Refusals by a hook are told with the reason that the application gave; what it accepts is sent. A channel that is
    not granted says so, too."""
    async with moderation() as url:
        env = {"MARU_HOOK_URL": url, "MARU_HOOK_SECRET": HOOK_SECRET, "MARU_CHANNEL_RULES": json.dumps(RULES)}
        async with page_of(tmp_path, env) as (_, visit):
            page = await visit("alice")
            await page.say("Good morning")
            await page.sees("Good morning")
            await page.say("Buy at http://spam.example")
            refused = await page.sees("Buy at http://spam.example", "failed")
            await expect(refused).to_contain_text("Not sent: it was refused here: “No links in this room, please”")
            await page.picture("refused-by-rule")
            await page.add("room:club")
            await expect(page.messages).to_contain_text("You have no access to this channel: “Members only”.")
            await page.picture("refused-club")
            await page.add("ops:alerts")
            await expect(page.composer).to_be_disabled()
            await expect(page.messages).to_contain_text("You have no access to this channel.")
            await page.picture("refused-channel")


async def test_a_backend_removes_asks_ends_and_revokes(tmp_path: Path) -> None:
    """Each is told in its own words; who was signed out may sign in again, unless they are banned."""
    async with (
        page_of(tmp_path, {"MARU_DEV": "insecure-public", "MARU_API_KEYS": KEY}) as (server, visit),
        MaruBackend(f"http://127.0.0.1:{server.internal_port}", KEY) as backend,
    ):
        page = await visit("alice")
        await page.say("Hello")
        await page.sees("Hello")
        await backend.remove_member("room:random", "alice", deny_s=60)
        await expect(page.toast).to_have_text("#random: you no longer have access to this channel.")
        await page.picture("removed-elsewhere")
        await backend.remove_member("room:lobby", "alice", deny_s=60)
        await expect(page.composer).to_be_disabled()
        await expect(page.composer).to_have_attribute("placeholder", "You no longer have access to this channel")
        await page.picture("removed")
        async with page.page.expect_request("**/dev/token*"):
            await backend.ask_refresh("alice")
        await backend.end_sessions("alice")
        await expect(page.notice).to_contain_text("You are signed out: you have to sign in again.")
        await page.picture("signed-out")
        await page.notice.get_by_role("button").click()
        await page.is_online()
        await backend.revoke(user="alice", ban=True)
        await expect(page.notice).to_contain_text("You are signed out: your access was withdrawn.")
        await page.picture("revoked")
        await page.notice.get_by_role("button").click()
        await expect(page.notice).to_contain_text("You are signed out: your access was withdrawn.")

"""The demo page in Chromium with more than fits: much that is unread, many followed channels; and what a user leaves
behind."""

import asyncio
from pathlib import Path
from typing import Any

from playwright.async_api import expect

from tests.harness.page import DESKTOP, PHONE, ChatPage, demo
from tests.harness.server import LIMITS

LOBBY, RANDOM = "room:lobby", "room:random"

UNREAD = 300
FOLLOWED = 120

# Commands of a user, one after the other, on a connection beside the page.
_COMMAND = """async ({user, commands}) => {
  const {io} = await import("/vendor/socket.io.esm.min.js");
  const {token} = await (await fetch(`/dev/token?user=${user}`)).json();
  const socket = io("/chat", {transports: ["websocket"], auth: {token}, forceNew: true});
  await new Promise((resolve) => socket.on("session:ready", resolve));
  const refused = [];
  for (const [event, payload] of commands) {
    const answer = await socket.emitWithAck(event, payload);
    if (!answer.ok) refused.push(answer);
  }
  socket.disconnect();
  return refused;
}"""

_STORED = """() => [localStorage, sessionStorage].flatMap((area) => Object.entries(area).flat())"""


async def command(page: ChatPage, user: str, commands: list[tuple[str, dict[str, Any]]]) -> None:
    """Let a user give commands, all of which are taken."""
    refused = await page.page.evaluate(_COMMAND, {"user": user, "commands": commands})
    assert refused == []


async def test_a_way_leads_to_the_first_of_many_new_messages(tmp_path: Path) -> None:
    """A channel with more news than a screen opens at its end; a button leads to the first new message, with the
    keyboard's focus, and is gone when the mark was seen; the messages between are there, once, in order."""
    async with demo(tmp_path) as (_, visit):
        ann, bob = await visit("ann"), await visit("bob")
        await ann.say("Read by both")
        await bob.sees("Read by both")
        await bob.switch(RANDOM)
        texts = [f"news {number}" for number in range(UNREAD)]
        await command(ann, "ann", [("message:send", {"channel": LOBBY, "text": text, "key": text}) for text in texts])
        await expect(bob.channel(LOBBY).get_by_test_id("unread")).to_have_text("99+")
        await bob.switch(LOBBY)
        await bob.sees(texts[-1])
        button = bob.page.get_by_test_id("first-unread")
        await expect(button).to_have_text(f"{UNREAD} new messages")
        assert await bob.violations() == []
        await bob.picture("first-unread")
        await button.focus()
        await bob.page.keyboard.press("Enter")
        await expect(bob.page.locator(".line-new")).to_be_in_viewport()
        await expect(bob.saying(texts[0])).to_be_focused()
        await expect(button).to_be_hidden()
        await bob.sees("Read by both")
        await bob.picture("first-unread-found")
        await check_between(bob, ["Read by both", *texts])


async def check_between(page: ChatPage, texts: list[str]) -> None:
    """From the first new message to the end of the channel: nothing is missing, nothing is there twice."""
    last = page.rows.last
    while not await page.saying(texts[-1]).count():
        await last.scroll_into_view_if_needed()
    shown = [row["text"] for row in await page.listed()]
    assert shown == texts[-len(shown) :]


async def test_a_long_inbox_is_read_to_its_end(tmp_path: Path) -> None:
    """More channels than a page of the inbox come with a button, are opened and unfollowed like the others; a page
    that is reloaded too often for the inbox's rate has it all the same."""
    async with demo(tmp_path, LIMITS) as (_, visit):
        bob = await visit("bob")
        names = [f"room:many-{number:03}" for number in range(FOLLOWED)]
        await command(bob, "bob", [("channel:follow", {"channel": name}) for name in names])
        await bob.page.get_by_test_id("open-inbox").click()
        entries = bob.page.get_by_test_id("inbox-entry")
        for _ in range(4):
            await bob.page.reload()
            await bob.is_online()
        await expect(entries).to_have_count(100)
        more = bob.page.get_by_test_id("inbox-more")
        await more.scroll_into_view_if_needed()
        await bob.picture("inbox-more")
        assert await bob.violations() == []
        await expect(more).to_have_text("Show more")
        await more.click()
        await expect(more).to_be_hidden()  # after up to 10 s, as the rate demands
        shown = await entries.evaluate_all("(all) => all.map((each) => each.dataset.channel)")
        assert sorted(shown) == names
        await bob.page.get_by_test_id("unfollow").last.click()
        await expect(entries).to_have_count(FOLLOWED - 1)
        await entries.last.click()
        await expect(bob.page.get_by_test_id("follow")).to_have_attribute("aria-pressed", "true")


async def test_nothing_of_a_user_stays_after_signing_out(tmp_path: Path) -> None:
    """Who signs out leaves nothing in the browser; what was not sent is asked for; the next user begins anew."""
    async with demo(tmp_path) as (server, visit):
        ann = await visit("ann")
        await ann.add("room:secret-garden")
        await ann.say("Hidden")
        await ann.sees("Hidden")
        await server.kill()
        await ann.shows("reconnecting")
        await ann.say("Waiting")
        await ann.sees("Waiting", "pending")
        async with ann.page.expect_event("dialog") as asked:
            clicking = asyncio.create_task(ann.page.get_by_test_id("sign-out").click())
        dialog = await asked.value
        assert dialog.message == "1 message was not sent, and would be lost. Sign out?"
        await dialog.dismiss()
        await clicking
        await ann.sees("Waiting", "pending")
        await server.start()
        await ann.sees("Waiting")
        await ann.page.get_by_test_id("sign-out").click()
        await check_next_user(ann)


async def check_next_user(page: ChatPage) -> None:
    """The browser is empty; Bob signs in, and finds nothing of Ann's."""
    name = page.page.get_by_test_id("sign-in-name")
    await expect(name).to_be_visible()
    assert await page.page.evaluate(_STORED) == []
    await name.fill("bob")
    await name.press("Enter")
    await page.is_online()
    await expect(page.page.get_by_test_id("channel")).to_have_count(3)
    stored = await page.page.evaluate(_STORED)
    assert not any(trace in text for trace in ("demo:ann", "secret") for text in stored)


async def test_drawers_have_the_focus_and_close_with_escape(tmp_path: Path) -> None:
    """On a phone and on a narrow desk: a drawer takes the focus, Escape closes it, and the focus is back."""
    async with demo(tmp_path) as (_, visit):
        for screen in (PHONE, {**DESKTOP, "viewport": {"width": 900, "height": 700}}):
            bob = await visit("bob", screen)
            drawers = [("open-members", "#members")]
            if screen is PHONE:
                drawers.append(("open-channels", "#sidebar"))
            for name, drawer in drawers:
                button = bob.page.get_by_test_id(name)
                await button.click()
                await expect(bob.page.locator(f"{drawer}:focus-within")).to_have_count(1)
                assert await bob.violations() == []
                await bob.page.keyboard.press("Escape")
                await expect(button).to_be_focused()

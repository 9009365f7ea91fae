"""The demo page in Chromium: two people chat, the server dies under them, and a phone is wide enough."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Locator, expect

from tests.clients.account import Outgoing
from tests.clients.python import PyClient
from tests.harness.page import DESKTOP, OUTAGE, PHONE, ChatPage, Row, chromium
from tests.harness.server import ServerProcess

LOBBY, RANDOM = "room:lobby", "room:random"

OLD = 170
"""Messages in the log before the page is opened: more than three pages of history."""

BEFORE, DURING, AFTER = 12, 18, 10
"""Messages sent before the server dies, while it is away, and while the page comes back."""

MIN_TOUCH_PX = 32

Visit = Callable[..., Awaitable[ChatPage]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A development server with a secret that it made, as `make run` starts it, but on free ports."""
    async with ServerProcess(tmp_path, {"MARU_DEV": "1"}) as running:
        yield running
        assert running.faults() == []


@pytest.fixture
async def visit(server: ServerProcess, tmp_path: Path) -> AsyncIterator[Visit]:
    """Opens the page as a user; at the end no page may have breached its Content-Security-Policy."""
    pages: list[ChatPage] = []
    async with chromium() as browser:

        async def open_page(user: str, screen: dict[str, object]) -> ChatPage:
            pages.append(await ChatPage.open(browser, server.url, user, tmp_path, screen))
            return pages[-1]

        yield open_page
        assert [await page.breaches() for page in pages] == [[]] * len(pages)


def order(rows: list[Row]) -> list[tuple[int, str, str]]:
    """What two pages must agree on."""
    return [(row["offset"], row["id"], row["text"]) for row in rows]


async def tell(server: ServerProcess, user: str, channel: str, texts: list[str]) -> None:
    """Say things without a page, with a token as the page gets it."""
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}/dev/token", params={"user": user}) as answer:
        token: str = (await answer.json())["token"]
    async with PyClient(server.url, token) as client:
        await client.send_all([Outgoing(channel, text, f"{user}-{i}") for i, text in enumerate(texts)], in_flight=32)


async def act(row: Locator, name: str) -> None:
    """Use a message's own button, which shows when the pointer is over the message."""
    await row.hover()
    await row.get_by_test_id(name).click()


async def test_two_people_chat(visit: Visit) -> None:
    """What one person sends, edits and deletes is so on the other's page at once; the consoles stay silent."""
    alice, bob = await visit("alice", DESKTOP), await visit("bob", DESKTOP)
    await alice.say("Has anybody seen the keys to the tea room?")
    await bob.sees("Has anybody seen the keys to the tea room?")
    await bob.say("They hang behind the door.\nWhere they always hang.")
    await bob.say("Wait, I have them")
    await alice.sees("Wait, I have them")  # first, since what arrives moves the rows away from under the pointer
    await act(await alice.sees("Has anybody seen the keys to the tea room?"), "edit")
    await alice.say("Has anybody seen the keys to the garden?")
    await expect(await bob.sees("Has anybody seen the keys to the garden?")).to_contain_text("edited")
    await act(await bob.sees("Wait, I have them"), "delete")
    await bob.page.get_by_test_id("delete-confirm").click()
    await expect(alice.rows.nth(2)).to_have_attribute("data-deleted", "true")
    await alice.say("Found them, thank you! The map is at https://example.org/map")
    await bob.sees("Found them, thank you! The map is at https://example.org/map")
    await alice.picture("desktop-chat")
    for page in (alice, bob):
        assert [(row["offset"], row["deleted"]) for row in await page.listed()] == [
            (1, False),
            (2, False),
            (3, True),
            (6, False),
        ]
        assert page.complaints == []
    assert order(await alice.listed()) == order(await bob.listed())


async def test_scrolling_up_loads_the_history(server: ServerProcess, visit: Visit) -> None:
    """A channel opens at its end; scrolling up brings everything before it, in order, once, and without a jump."""
    texts = [f"old message {number}" for number in range(1, OLD + 1)]
    await tell(server, "carol", RANDOM, texts)
    alice = await visit("alice", DESKTOP)
    await alice.switch(RANDOM)
    await expect(await alice.sees(texts[-1])).to_be_in_viewport()
    assert len(await alice.listed()) < OLD
    start, top = alice.page.get_by_test_id("history-start"), alice.page.get_by_test_id("message-text").first
    for _ in range(OLD):
        if await start.is_visible():
            break
        oldest = await top.inner_text()
        await top.scroll_into_view_if_needed()
        await expect(top).not_to_have_text(oldest)
        await expect(await alice.sees(oldest)).to_be_in_viewport()
    await start.scroll_into_view_if_needed()
    await alice.picture("desktop-history-start")
    assert [row["text"] for row in await alice.listed()] == texts
    assert [row["offset"] for row in await alice.listed()] == list(range(1, OLD + 1))
    assert alice.complaints == []


async def test_the_server_dies_under_two_pages(server: ServerProcess, visit: Visit) -> None:
    """`kill -9` and a restart while one page keeps sending: nothing is missing or doubled, and both pages agree, also
    where one comes back only after the other has sent everything."""
    alice, bob = await visit("alice", DESKTOP), await visit("bob", DESKTOP)
    before, during, after = (
        [f"{when} {number}" for number in range(count)]
        for when, count in (("before", BEFORE), ("during", DURING), ("after", AFTER))
    )
    sending = asyncio.create_task(say_all(alice, before + during))
    await bob.sees(before[-1])
    await server.kill()
    await bob.page.context.set_offline(True)
    await sending
    for page in (alice, bob):
        await page.shows("reconnecting")
    await alice.sees(during[-1], "pending")
    await alice.picture("desktop-outage")
    await server.start()
    await say_all(alice, after)
    await alice.is_online()
    await check_whole(alice, before + during + after)
    await expect(bob.saying(during[-1])).to_have_count(0)
    await bob.page.context.set_offline(False)
    await bob.is_online()
    await check_whole(bob, before + during + after)
    for page in (alice, bob):
        assert (await page.states())[-1] == "online"
    await alice.page.reload()
    await check_whole(alice, before + during + after)
    assert order(await alice.listed()) == order(await bob.listed())


async def check_whole(page: ChatPage, texts: list[str]) -> None:
    """The page holds exactly these messages, all of them sent, and complained of nothing but the outage."""
    await page.sees(texts[-1])
    rows = await page.listed()
    assert [row["text"] for row in rows] == texts
    assert [row["offset"] for row in rows] == list(range(1, len(texts) + 1))
    assert {row["state"] for row in rows} == {"sent"}
    assert [text for text in page.complaints if not any(known in text for known in OUTAGE)] == []


async def say_all(page: ChatPage, texts: list[str]) -> None:
    """Type and send one message after the other."""
    for text in texts:
        await page.say(text)


async def test_a_phone_is_wide_enough(server: ServerProcess, visit: Visit) -> None:
    """At 390 x 844 people read, write, edit and change channels by touch, and nothing is wider than the screen."""
    await tell(server, "carol", LOBBY, ["Good morning", "a" * 300, "https://example.org/" + "path/" * 40])
    await tell(server, "dave", RANDOM, [f"news {number}" for number in range(60)])
    alice = await visit("alice", PHONE)
    await expect(await alice.sees("Good morning")).to_be_in_viewport()
    await write_by_touch(alice, "Good morning, everybody. The bus is late, I'll be there at nine.")
    mine = await alice.sees("Good morning, everybody. The bus is late, I'll be there at nine.")
    await check_fits(alice)
    await alice.picture("phone-chat")
    await mine.get_by_role("button", name="Message actions").tap()
    await alice.picture("phone-actions")
    await mine.get_by_test_id("edit").tap()
    await write_by_touch(alice, "Good morning, everybody. The bus is on time.")
    await change_channel_by_touch(alice, RANDOM)
    await expect(await alice.sees("news 59")).to_be_in_viewport(ratio=1)
    await check_fits(alice)
    assert alice.complaints == []


async def write_by_touch(page: ChatPage, text: str) -> None:
    """Write in the composer and touch the button that sends; the message comes into sight."""
    await page.composer.tap()
    await page.composer.fill(text)
    await check_fits(page)
    await page.page.get_by_test_id("composer-send").tap()
    await expect(await page.sees(text)).to_be_in_viewport(ratio=1)


async def change_channel_by_touch(page: ChatPage, channel: str) -> None:
    """Open the list of channels, choose one, and be back at the messages."""
    await page.page.get_by_test_id("open-channels").tap()
    target = page.page.locator(f'[data-testid=channel][data-channel="{channel}"]')
    await expect(target).to_be_in_viewport(ratio=1)
    assert await page.overflow() <= 0
    await page.picture("phone-channels")
    await target.tap()
    await expect(target).not_to_be_in_viewport()


async def check_fits(page: ChatPage) -> None:
    """Nothing is wider than the screen, and what is needed to write and to leave is in sight and large enough."""
    assert await page.overflow() <= 0
    assert await page.messages.evaluate("(box) => box.scrollWidth - box.clientWidth") <= 0
    await expect(page.composer).to_be_in_viewport(ratio=1)
    for button in ("composer-send", "open-channels"):
        box = await page.page.get_by_test_id(button).bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= MIN_TOUCH_PX

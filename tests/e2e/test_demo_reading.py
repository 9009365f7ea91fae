"""The demo page in Chromium: what is read and what is not, over crashes and reloads, and the inbox of it."""

import asyncio
from pathlib import Path

from playwright.async_api import expect

from tests.harness.page import PHONE, ChatPage, demo

LOBBY, RANDOM, MARU = "room:lobby", "room:random", "room:maru"

UP = "👍"


async def say_all(page: ChatPage, texts: list[str]) -> None:
    """Type and send one message after the other."""
    for text in texts:
        await page.say(text)


async def hide(page: ChatPage, *, hidden: bool) -> None:
    """Make the page believe that another tab is in front of it, or no longer."""
    await page.page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


async def test_badges_count_and_reading_clears_them(tmp_path: Path) -> None:
    """Messages elsewhere, of a hidden page, or below the reader's place are unread, exactly, also after a deletion; a
    line stands above the first; a look at the end reads them, on the user's other pages too."""
    async with demo(tmp_path) as (_, visit):
        ann, bob = await visit("ann"), await visit("bob")
        other = await visit("bob", PHONE)
        await ann.switch(RANDOM)
        await say_all(ann, ["One", "Two", "Three"])
        await bob.badges(RANDOM, 3)
        await delete(ann, "Two")
        for page in (bob, other):
            await page.badges(RANDOM, 2)
        await bob.switch(RANDOM)
        await bob.sees("Three")
        for page in (bob, other):
            await page.badges(RANDOM, 0)
        await expect(bob.page.locator(".line-new")).to_have_count(0)  # all of the channel was new
        await check_hidden(ann, bob)
        await other.badges(RANDOM, 0)  # the mark has arrived: it goes out at most once a second
        await bob.page.reload()
        await bob.sees("Five")
        await bob.badges(RANDOM, 0)
        await expect(bob.page.locator(".line-new")).to_have_count(0)


async def check_hidden(ann: ChatPage, bob: ChatPage) -> None:
    """What comes while another tab is in front is unread, until the page is back."""
    await hide(bob, hidden=True)
    await say_all(ann, ["Four", "Five"])
    await bob.badges(RANDOM, 2)
    await expect(bob.page).to_have_title("(2) Maru")
    await hide(bob, hidden=False)
    await bob.badges(RANDOM, 0)
    await expect(bob.page).to_have_title("Maru")
    await check_line_above(bob, "Four")


async def delete(page: ChatPage, text: str) -> None:
    """Delete an own message."""
    row = await page.sees(text)
    await row.hover()
    await row.get_by_test_id("delete").click()
    await page.page.get_by_test_id("delete-confirm").click()


async def check_line_above(page: ChatPage, text: str) -> None:
    """The mark of the new messages stands right above a message, and nowhere else."""
    line = page.page.locator(".line-new")
    await expect(line).to_have_count(1)
    below = page.page.locator(".line-new + li").get_by_test_id("message-text")
    await expect(below).to_have_text(text)


async def test_unread_reactions_and_people_survive_a_crash(tmp_path: Path) -> None:
    """`kill -9` of the server while one writes and the other is away: nothing is lost or doubled, the counts and the
    mark are right, before a reload and after; so are the members and the reactions."""
    async with demo(tmp_path) as (server, visit):
        ann, bob = await visit("ann"), await visit("bob")
        await react_first(ann, bob)
        await bob.switch(RANDOM)
        before, during, after = (
            [f"{when} {number}" for number in range(count)]
            for when, count in (("before", 4), ("during", 8), ("after", 3))
        )
        await say_all(ann, before)
        await bob.badges(LOBBY, len(before))
        sending = asyncio.create_task(say_all(ann, during))
        await server.kill()
        await sending
        for page in (ann, bob):
            await page.shows("reconnecting")
        await ann.sees(during[-1], "pending")
        await server.start()
        await say_all(ann, after)
        await ann.sees(after[-1])
        await check_unread(ann, bob, before + during + after)


async def react_first(ann: ChatPage, bob: ChatPage) -> None:
    """Both have read a message, and one of them reacts to it."""
    await ann.say("Read by both")
    row = await bob.sees("Read by both")
    await row.hover()
    await row.get_by_test_id("react").click()
    await bob.page.get_by_test_id("pick").first.click()
    await ann.reactions(await ann.sees("Read by both"), {UP: 1})


async def check_unread(ann: ChatPage, bob: ChatPage, unread: list[str]) -> None:
    """Bob, who is elsewhere, has these messages before him: now, after a reload, and no more when he has read them."""
    await bob.badges(LOBBY, len(unread))
    await bob.page.reload()
    await expect(bob.page.get_by_test_id("room-name")).to_have_text("random")
    await bob.badges(LOBBY, len(unread))
    await ann.members("ann", "bob")
    await bob.members("bob", "ann")
    await bob.picture("reading-after-crash")
    await bob.switch(LOBBY)
    await check_line_above(bob, unread[0])
    for page in (ann, bob):
        await page.sees(unread[-1])
        await page.reactions(await page.sees("Read by both"), {UP: 1})
        assert [row["text"] for row in await page.listed()] == ["Read by both", *unread]
    await bob.badges(LOBBY, 0)
    await bob.page.reload()
    await bob.sees(unread[-1])
    await bob.badges(LOBBY, 0)
    await bob.reactions(await bob.sees("Read by both"), {UP: 1})


async def test_a_reload_loses_no_unsent_message(tmp_path: Path) -> None:
    """Messages that wait for a server that is away are kept over a reload, and are in the log once, in their order."""
    waiting = [f"waiting {number}" for number in range(5)]
    async with demo(tmp_path) as (server, visit):
        ann, bob = await visit("ann"), await visit("bob")
        await ann.say("Before")
        await bob.sees("Before")
        await server.kill()
        await ann.shows("reconnecting")
        await say_all(ann, waiting)
        await ann.sees(waiting[-1], "pending")
        await server.start()
        await ann.page.reload()
        for page in (ann, bob):
            await page.sees(waiting[-1])
            assert [row["text"] for row in await page.listed()] == ["Before", *waiting]
            assert [row["offset"] for row in await page.listed()] == list(range(1, len(waiting) + 2))


async def test_the_inbox_survives_a_reload(tmp_path: Path) -> None:
    """Followed channels are in the inbox with their last message and what is unread: live, after a reload, after a
    crash, and on another device; unfollowed they are not."""
    async with demo(tmp_path) as (server, visit):
        ann, bob = await visit("ann"), await visit("bob")
        await follow(bob, LOBBY)
        await follow(bob, RANDOM)
        await bob.switch(MARU)
        await say_all(ann, ["Morning!", "@bob, the floor boards arrived"])
        await bob.badges(LOBBY, 2, 1)
        expected = [
            ("lobby", "ann: @bob, the floor boards arrived", "2", "@1"),
            ("random", "No messages yet", "", ""),
        ]
        await bob.page.get_by_test_id("open-inbox").click()
        await check_inbox(bob, expected)
        await bob.picture("inbox")
        await bob.page.reload()
        await check_inbox(bob, expected)
        await server.kill()
        await bob.shows("reconnecting")
        await server.start()
        await ann.is_online()
        await ann.switch(RANDOM)
        await ann.say("And the oil")
        expected = [("random", "ann: And the oil", "1", ""), expected[0]]
        await check_inbox(bob, expected)
        await read_and_unfollow(bob, expected[1])
        await check_phone(await visit("bob", PHONE))


async def follow(page: ChatPage, channel: str) -> None:
    """Touch the star of a channel."""
    await page.switch(channel)
    await page.page.get_by_test_id("follow").click()
    await expect(page.page.get_by_test_id("follow")).to_have_attribute("aria-pressed", "true")


async def read_and_unfollow(page: ChatPage, other: tuple[str, str, str, str]) -> None:
    """The first channel is read, and followed no more; the other stays."""
    await page.page.get_by_test_id("inbox-entry").first.click()
    await page.sees("And the oil")
    await page.page.get_by_test_id("open-inbox").click()
    await check_inbox(page, [("random", "ann: And the oil", "", ""), other])
    await page.page.get_by_test_id("unfollow").first.click()
    await check_inbox(page, [other])
    await page.page.reload()
    await check_inbox(page, [other])


async def check_phone(page: ChatPage) -> None:
    """The inbox fits on a phone."""
    await page.page.get_by_test_id("open-channels").tap()
    await page.page.get_by_test_id("open-inbox").tap()
    await expect(page.page.get_by_test_id("open-inbox")).not_to_be_in_viewport()  # the list has gone to its side
    await expect(page.page.get_by_test_id("inbox-entry").first).to_be_in_viewport(ratio=1)
    assert await page.overflow() <= 0
    await page.picture("phone-inbox")


async def check_inbox(page: ChatPage, expected: list[tuple[str, str, str, str]]) -> None:
    """Wait until the inbox shows exactly these channels: name, last message, unread, mentions."""
    entries = page.page.get_by_test_id("inbox-entry")
    await expect(entries).to_have_count(len(expected))
    for place, (name, last, unread, mentions) in enumerate(expected):
        entry = entries.nth(place)
        await expect(entry.locator(".entry-name")).to_have_text(name)
        await expect(entry.locator(".entry-last")).to_have_text(last)
        await expect(entry.get_by_test_id("entry-unread")).to_have_text(unread)
        await expect(entry.get_by_test_id("entry-mentions")).to_have_text(mentions)

"""The demo page in Chromium: the people in a channel, their typing, their reactions, and mentions of them."""

import re
from pathlib import Path

from playwright.async_api import Locator, expect

from tests.harness.page import DESKTOP, PHONE, ChatPage, demo

LOBBY, RANDOM = "room:lobby", "room:random"

UP, HEART, PARTY = "👍", "❤️", "🎉"

LINGER_MS = 25_000.0
"""A person who closes the page is there for 10 s more, and is gone a moment later; the machine may be busy."""


async def test_members_come_write_and_go(tmp_path: Path) -> None:
    """Both see both, once each, whatever their tabs; a line under the messages tells quietly of who types, comes and
    goes, and a reload is neither."""
    async with demo(tmp_path) as (_, visit):
        ann = await visit("ann")
        await ann.members("ann")
        bob = await visit("bob")
        for page, order in ((ann, ("ann", "bob")), (bob, ("bob", "ann"))):
            await page.members(*order)
            await expect(page.page.get_by_test_id("members-count")).to_have_text("2")
        whisper = ann.page.get_by_test_id("whisper")
        await expect(whisper).to_have_text("bob is here")
        await check_typing(ann, bob)
        second = await visit("bob")
        await second.members("bob", "ann")
        await second.page.close()
        await bob.page.reload()
        await bob.members("bob", "ann")
        await ann.members("ann", "bob")
        await expect(whisper).to_have_text("")
        await bob.page.close()
        await expect(whisper).to_have_text("bob has left", timeout=LINGER_MS)
        await ann.members("ann")


async def check_typing(ann: ChatPage, bob: ChatPage) -> None:
    """Ann sees that Bob types, until his text or his message is gone."""
    whisper = ann.page.get_by_test_id("whisper")
    await bob.composer.press_sequentially("I")
    await expect(whisper).to_have_text("bob is typing…")
    await ann.picture("people-typing")
    await bob.composer.fill("")
    await expect(whisper).to_have_text("")
    await bob.composer.press_sequentially("Hello")
    await expect(whisper).to_have_text("bob is typing…")
    await bob.composer.press("Enter")
    await ann.sees("Hello")
    await expect(whisper).to_have_text("")


async def test_reactions_are_the_same_on_both_pages(tmp_path: Path) -> None:
    """By the picker with the pointer and with the keyboard, by a chip, and taken back; a tooltip has the names."""
    async with demo(tmp_path) as (_, visit):
        ann, bob = await visit("ann"), await visit("bob")
        await ann.say("The floor is done")
        row, other = await ann.sees("The floor is done"), await bob.sees("The floor is done")
        await pick(bob, other, PARTY)
        await ann.reactions(row, {PARTY: 1})
        await expect(row.get_by_test_id("reaction")).to_have_attribute("aria-pressed", "false")
        await row.get_by_test_id("reaction").click()
        for page, its in ((ann, row), (bob, other)):
            await page.reactions(its, {PARTY: 2})
            await expect(its.get_by_test_id("reaction")).to_have_attribute("aria-pressed", "true")
        await pick_by_keyboard(ann, row)
        for page, its in ((ann, row), (bob, other)):
            await page.reactions(its, {PARTY: 2, HEART: 1})
        chip = other.get_by_test_id("reaction").first
        await chip.hover()
        await expect(bob.page.get_by_test_id("tip")).to_have_text("You and ann reacted with 🎉")
        await bob.picture("reactions-tooltip")
        await chip.click()
        for page, its in ((ann, row), (bob, other)):
            await page.reactions(its, {PARTY: 1, HEART: 1})
        await row.get_by_test_id("reaction").first.click()
        for page, its in ((ann, row), (bob, other)):
            await page.reactions(its, {HEART: 1})
        await ann.page.reload()
        await ann.reactions(await ann.sees("The floor is done"), {HEART: 1})


async def pick(page: ChatPage, row: Locator, emoji: str) -> None:
    """React with the pointer."""
    await row.hover()
    await row.get_by_test_id("react").click()
    picker = page.page.get_by_test_id("picker")
    await expect(picker).to_be_visible()
    await page.picture("picker")
    await picker.locator(f'[data-emoji="{emoji}"]').click()
    await expect(picker).to_be_hidden()


async def pick_by_keyboard(page: ChatPage, row: Locator) -> None:
    """From the composer to the message, to its button, to the second emoji; the focus is back at the button."""
    await page.composer.focus()
    await page.messages.focus()
    await page.page.keyboard.press("ArrowUp")
    await expect(row).to_be_focused()
    button, picker = row.get_by_test_id("react"), page.page.get_by_test_id("picker")
    for _ in range(4):  # past the chips
        await page.page.keyboard.press("Tab")
        if await button.evaluate("(element) => element === document.activeElement"):
            break
    await expect(button).to_be_focused()
    await page.page.keyboard.press("Enter")
    await expect(picker.get_by_test_id("pick").first).to_be_focused()
    await page.page.keyboard.press("Escape")
    await expect(picker).to_be_hidden()
    await expect(button).to_be_focused()
    await page.page.keyboard.press("Enter")
    await page.page.keyboard.press("ArrowRight")
    await page.page.keyboard.press("Enter")
    await expect(picker).to_be_hidden()
    await expect(button).to_be_focused()


async def test_a_mention_is_completed_sent_and_counted(tmp_path: Path) -> None:
    """`@` offers the people of the channel; the mention is highlighted on both pages, and is a badge of its own."""
    async with demo(tmp_path) as (_, visit):
        ann, bob = await visit("ann"), await visit("sora kim")
        await ann.members("ann", "sora kim")
        await bob.switch(RANDOM)
        await bob.members("sora kim", "ann")
        text = "Soup is ready, @sora kim and ann@example.org"
        await write_mention(ann)
        await expect((await ann.sees(text)).get_by_test_id("mention")).to_have_text(["@sora kim"])
        await bob.badges(LOBBY, 1, 1)
        await bob.picture("mention-badge")
        await bob.switch(LOBBY)
        row = await bob.sees(text)
        await expect(row.get_by_test_id("mention")).to_have_class("mention own")
        await expect(row).to_have_class(re.compile(r"\bfor-me\b"))
        await bob.badges(LOBBY, 0)
        await bob.composer.press_sequentially("@a")
        await expect(bob.page.get_by_test_id("offer")).to_have_count(1)
        await bob.composer.press("Escape")
        await expect(bob.page.get_by_test_id("offers")).to_be_hidden()
        await bob.composer.press("Enter")
        await expect((await ann.sees("@a")).get_by_test_id("mention")).to_have_count(0)


async def write_mention(page: ChatPage) -> None:
    """Write half a name, take the whole from the list, and go on; an address is no mention."""
    await page.composer.press_sequentially("Soup is ready, @k")
    offer = page.page.get_by_test_id("offer")
    await expect(offer).to_have_text([re.compile("sora kim$")])
    await page.picture("mention-offers")
    await page.composer.press("Enter")
    await expect(page.composer).to_have_value("Soup is ready, @sora kim ")
    await expect(page.page.get_by_test_id("offers")).to_be_hidden()
    await page.composer.press_sequentially("and ann@example.org")
    await page.composer.press("Enter")


async def test_members_are_a_drawer_on_a_phone(tmp_path: Path) -> None:
    """It lies over the messages, keeps the focus, and closes by its button, by Escape, and beside it."""
    async with demo(tmp_path) as (_, visit):
        ann, bob = await visit("ann", PHONE), await visit("bob", DESKTOP)
        await bob.members("bob", "ann")
        opener, drawer = ann.page.get_by_test_id("open-members"), ann.page.get_by_test_id("members")
        await expect(opener).to_have_accessible_name("Members: 2 are here")
        for way in ("button", "Escape", "beside"):
            await expect(drawer).to_be_hidden()
            await opener.tap()
            await expect(drawer).to_be_in_viewport(ratio=1)
            await ann.members("ann", "bob")
            await expect(drawer).to_be_focused()
            assert await ann.page.locator("#room").evaluate("(element) => element.inert")
            assert await ann.overflow() <= 0
            await ann.picture("phone-members")
            if way == "button":
                await drawer.get_by_role("button", name="Close the members").tap()
            elif way == "Escape":
                await ann.page.keyboard.press("Escape")
            else:
                await ann.page.touchscreen.tap(20, 400)
        await expect(drawer).to_be_hidden()
        await expect(opener).to_be_focused()

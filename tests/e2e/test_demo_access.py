"""The demo page in Chromium for people with a keyboard, a screen reader, or an eye for contrast, in both themes."""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from tests.harness.page import DESKTOP, PHONE, ChatPage, demo

SCREENS: dict[str, dict[str, Any]] = {"desk": DESKTOP, "phone": PHONE}

# The animations that end have ended.
_SETTLED = """Promise.all(document.getAnimations().map((each) =>
  each.effect.getTiming().iterations === 1 && each.finished))"""

SAID = ["Morning! The floor boards arrived.", "Forty, all straight. @bob, the plan: https://maru.test/plan", "Coffee?"]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
async def test_axe_finds_nothing(tmp_path: Path, screen: str, theme: str) -> None:
    """In each state of the page: messages with reactions, mentions and the line, the picker, the people to mention, the
    members, the inbox, an outage."""
    async with demo(tmp_path) as (server, visit):
        bob, ann = await visit("bob", {**SCREENS[screen], "color_scheme": theme}), await visit("ann")
        name = f"{screen}-{theme}"
        await say_all(ann)
        await check_picker(bob, name)
        await bob.page.get_by_test_id("follow").click()
        await open_sidebar(bob, screen)
        await bob.channel("room:random").click()
        await say_all(ann)
        await bob.badges("room:lobby", len(SAID), 1)
        await open_sidebar(bob, screen)
        await check(bob, f"{name}-badges")
        await bob.page.get_by_test_id("open-inbox").click()
        await expect(bob.page.get_by_test_id("inbox-entry")).to_have_count(1)
        await check(bob, f"{name}-inbox")
        await bob.page.get_by_test_id("inbox-entry").click()
        await check_messages(ann, bob, name)
        if screen == "phone":
            await bob.page.get_by_test_id("open-members").tap()
            await check(bob, f"{name}-members")
            await bob.page.keyboard.press("Escape")
        await server.kill()
        await check_outage(bob, name)


async def say_all(page: ChatPage) -> None:
    """Say all of it, and wait until it is in the log."""
    sent = await page.rows.and_(page.page.locator("[data-state=sent]")).count()
    for text in SAID:
        await page.say(text)
    await expect(page.rows.and_(page.page.locator("[data-state=sent]"))).to_have_count(sent + len(SAID))


async def check_picker(page: ChatPage, name: str) -> None:
    """The picker is open, and a reaction is chosen."""
    row = await page.sees(SAID[0])
    if name.startswith("phone"):
        await row.get_by_test_id("message-text").tap()
        await row.get_by_role("button", name="Message actions").tap()
    else:
        await row.hover()
    await row.get_by_test_id("react").click()
    await expect(page.page.get_by_test_id("picker")).to_be_visible()
    await check(page, f"{name}-picker")
    await page.page.get_by_test_id("pick").nth(1).click()
    await page.reactions(row, {"❤️": 1})


async def check_messages(ann: ChatPage, bob: ChatPage, name: str) -> None:
    """Messages with all that they may have, and the people to mention."""
    await expect(bob.page.locator(".line-new")).to_have_count(1)
    await ann.composer.press_sequentially("And who brings", delay=300)  # the server tells no more often than every 3 s
    await expect(bob.page.get_by_test_id("whisper")).to_have_text("ann is typing…")
    await check(bob, f"{name}-messages")
    await bob.composer.press_sequentially("@")
    await expect(bob.page.get_by_test_id("offer")).to_have_count(1)
    await check(bob, f"{name}-offers")
    await bob.composer.press("Escape")
    await bob.composer.fill("")


async def check_outage(page: ChatPage, name: str) -> None:
    """A message that waits; and an inbox with nothing in it."""
    await page.shows("reconnecting")
    await page.say("Into the dark")
    await page.sees("Into the dark", "pending")
    await check(page, f"{name}-outage")


async def check(page: ChatPage, name: str) -> None:
    """No complaint of axe, and nothing wider than the screen."""
    await page.page.evaluate(_SETTLED)
    await page.picture(f"access-{name}")
    assert await page.violations() == [], name
    assert await page.overflow() <= 0, name


async def open_sidebar(page: ChatPage, screen: str) -> None:
    """On a phone it is a drawer."""
    if screen == "phone":
        await page.page.get_by_test_id("open-channels").tap()
    await expect(page.page.get_by_test_id("open-inbox")).to_be_in_viewport(ratio=1)


async def test_the_keyboard_reaches_everything_in_order(tmp_path: Path) -> None:
    """Tab goes from the side to the header, the messages, the composer and the members; the focus is always seen."""
    async with demo(tmp_path) as (_, visit):
        page = await visit("ann")
        await page.say("Hello")
        await page.sees("Hello")
        await page.page.get_by_test_id("open-inbox").focus()
        reached = []
        for _ in range(20):
            reached.append(
                await page.page.evaluate("document.activeElement.dataset.testid ?? document.activeElement.id")
            )
            outline = await page.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none" or reached[-1] == "composer-input", reached[-1]  # its box shows the focus
            await page.page.keyboard.press("Tab")
            if reached[-1] == "close-members":
                break
        assert reached == [
            "open-inbox",
            "add-channel",
            "channel",
            "leave-channel",
            "channel",
            "channel",
            "sign-out",
            "follow",
            "open-members",
            "messages",
            "composer-input",
            "close-members",
        ]


async def test_a_screen_reader_is_not_flooded(tmp_path: Path) -> None:
    """New messages are announced; typing, comings, reactions, badges and pages of history are not. Less motion
    is none."""
    async with demo(tmp_path) as (_, visit):
        page = await visit("ann", {**DESKTOP, "reduced_motion": "reduce"})
        await page.say("Hello")
        row = await page.sees("Hello")
        await row.hover()
        await row.get_by_test_id("react").click()
        await page.page.get_by_test_id("pick").first.click()
        await page.reactions(row, {"👍": 1})
        live = await page.page.evaluate(
            """[...document.querySelectorAll("[aria-live], [role=log], [role=status], [role=alert]")]
                .filter((element) => element.ariaLive !== "off" && !element.hidden && element.checkVisibility())
                .map((element) => element.dataset.testid ?? element.id).toSorted()"""
        )
        assert live == ["composer-counter", "connection-state", "messages"]
        await expect(row.locator(".reactions")).to_have_attribute("aria-live", "off")
        slow = await page.page.evaluate(
            """[...document.querySelectorAll("*")].filter((element) => {
                const {animationDuration, transitionDuration} = getComputedStyle(element);
                return [animationDuration, transitionDuration].some((text) => parseFloat(text) > 0.001);
            }).length"""
        )
        assert slow == 0

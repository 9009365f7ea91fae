"""The demo page in Chromium before a log that strangers wrote: hostile names, texts and links stay what they are."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import expect

from server.adapters.sqlite.message_log import SqliteMessageLog
from server.domain.channels import ChannelName
from server.domain.drafts import NewMessage
from server.domain.identity import Author, UserId
from tests.doubles.samples import HOUR_MS, new_message
from tests.harness.page import DESKTOP, PHONE, ChatPage, chromium
from tests.harness.server import ServerProcess

LOBBY = ChannelName("room:lobby")

ZALGO = "Z" + "\u0335\u0321\u0353\u0359" * 40 + "algo"

SAID: list[tuple[str, str | None, str]] = [
    ("alice", "Alice", "I am Alice"),
    ("mallory", "Alice", "So am I"),
    ("m-2", "\u202ecilA", "<b>x</b>"),
    ("m-3", "\u0410lice", "My A is Cyrillic"),
    ("nameless", None, "I have no name"),
    ("m-4", "<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)><script>alert(2)</script>"),
    ("m-5", ZALGO, ZALGO * 5),
    ("m-6", "Links", "https://\u0430\u0440\u0440\u04cf\u0435.com/login"),
    ("m-6", "Links", "https://apple.com@evil.test/"),
    ("m-6", "Links", "javascript:alert(1) data:text/html,x https://maru.test/\u202egnp.exe"),
    ("m-7", "Old", "a\0b\x1b[31mc"),
    ("m-8", "Tall", "\n".join(["top", *[""] * 3_990, "bottom"])),
    ("m-9", "Wide", "w" * 3_999),
    ("m-10", "Even", "\n".join(str(number) for number in range(20))),
]
"""Who said what: id, name and text, as an earlier version, or another program, may have written it."""

BIDI_ISOLATE = {"isolate", "isolate-override", "plaintext"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A development server whose log holds what the strangers said."""
    log = SqliteMessageLog(tmp_path / "maru.db", max_events=1_000, max_age_ms=100_000 * HOUR_MS)
    async with log:
        for number, said in enumerate(SAID):
            await log.append(message(number, *said))
    async with ServerProcess(tmp_path, {"MARU_DEV": "1"}) as running:
        yield running
        assert running.faults() == []


def message(number: int, user: str, name: str | None, text: str) -> NewMessage:
    """What somebody said."""
    return replace(new_message(number, LOBBY), author=Author(UserId(user), name), text=text, key=None)


async def test_names_and_texts_of_strangers(server: ServerProcess, tmp_path: Path) -> None:
    """Nothing runs, nothing turns what stands beside it, two people who look alike are told apart, links say where they
    lead, and no row is taller than a screen until somebody asks for it."""
    async with chromium() as browser:
        page = await ChatPage.open(browser, server.url, "reader", tmp_path, DESKTOP)
        await page.sees("I am Alice")
        assert [row["text"] for row in await page.listed()][:6] == [text for _, _, text in SAID[:6]]
        await check_names(page)
        await check_links(page)
        await check_heights(page)
        await page.rows.first.scroll_into_view_if_needed()
        await page.picture("desktop-strangers")
        assert await page.page.evaluate("document.querySelectorAll('.rows img, .rows script').length") == 0
        phone = await ChatPage.open(browser, server.url, "reader", tmp_path, PHONE)
        await phone.sees("I am Alice")
        assert await phone.overflow() <= 0
        assert await phone.messages.evaluate("(box) => box.scrollWidth - box.clientWidth") <= 0
        await phone.picture("phone-strangers")
        for each in (page, phone):
            assert (await each.breaches(), each.complaints) == ([], [])


async def check_names(page: ChatPage) -> None:
    """Each is isolated; ids stand beside those that are not enough."""
    names = page.page.get_by_test_id("author")
    assert await names.evaluate_all("(all) => all.map((each) => each.localName)") == ["bdi"] * await names.count()
    isolation = await names.evaluate_all("(all) => all.map((each) => getComputedStyle(each).unicodeBidi)")
    assert set(isolation) <= BIDI_ISOLATE
    shown = await page.page.locator(".heading").evaluate_all(
        """(all) => all.map((each) => ["author", "author-id"].map(
            (part) => each.querySelector(`[data-testid=${part}]`)?.textContent ?? null))"""
    )
    assert shown[:6] == [
        ["Alice", "alice"],
        ["Alice", "mallory"],
        ["cilA", None],
        ["\u0410lice", "m-3"],
        ["nameless", None],
        ["<img src=x onerror=alert(1)>", None],
    ]


async def check_links(page: ChatPage) -> None:
    """Punycode for a host of other letters; nothing but http and https; no link with a user name."""
    links = await page.page.locator(".text a").evaluate_all("(all) => all.map((each) => [each.textContent, each.href])")
    assert links == [
        ["https://xn--80ak6aa92e.com/login", "https://xn--80ak6aa92e.com/login"],
        ["https://maru.test/%E2%80%AEgnp.exe", "https://maru.test/%E2%80%AEgnp.exe"],
    ]


async def check_heights(page: ChatPage) -> None:
    """A tall message is cut, can be shown whole, and be cut again; one that just fits has no button."""
    heights = await page.rows.evaluate_all("(all) => all.map((each) => each.getBoundingClientRect().height)")
    assert max(heights) < DESKTOP["viewport"]["height"]
    tall, even = page.rows.filter(has_text="bottom"), page.rows.nth(len(SAID) - 1)
    await expect(even.get_by_test_id("more")).to_have_count(0)
    more = tall.get_by_test_id("more")
    await more.click()
    await expect(more).to_have_text("Show less")
    box = await tall.bounding_box()
    assert box is not None
    assert box["height"] > 10_000
    await more.press("Enter")
    await expect(more).to_have_text("Show more")


async def test_the_page_may_do_little(server: ServerProcess, tmp_path: Path) -> None:
    """Its headers: no source but its own, no other port, no HTML from text, no camera."""
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}/") as answer:
        policy = {part.split()[0]: part.split()[1:] for part in answer.headers["Content-Security-Policy"].split(";")}
        assert policy["connect-src"] == ["'self'"]
        assert policy["object-src"] == policy["default-src"] == ["'none'"]
        assert policy["require-trusted-types-for"] == ["'script'"]
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "camera=()" in answer.headers["Permissions-Policy"]
    async with chromium() as browser:
        page = await ChatPage.open(browser, server.url, "reader", tmp_path, DESKTOP)
        tried = await page.page.evaluate(
            """async (port) => {
                const outcomes = [];
                try {
                    document.body.innerHTML = "<b>x</b>";
                    outcomes.push("parsed");
                } catch {
                    outcomes.push("refused");
                }
                const socket = new WebSocket(`ws://127.0.0.1:${port}/`);
                outcomes.push(await new Promise((resolve) => {
                    socket.onopen = () => resolve("opened");
                    socket.onerror = () => resolve("refused");
                }));
                return outcomes;
            }""",
            server.internal_port,
        )
        assert tried == ["refused", "refused"]
        assert any("connect-src" in breach for breach in await page.breaches())

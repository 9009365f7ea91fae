"""The demo page in a real Chromium, as a person uses it."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Error, Locator, Page, async_playwright, expect

from tests.harness.server import ROOT, ServerProcess

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

WAIT_MS = 15_000.0
"""For anything that a page should show; a reconnect after an outage takes seconds."""

OUTAGE = ("net::ERR_CONNECTION_REFUSED", "WebSocket connection to")
"""What Chromium itself writes to the console while a server is away."""

DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}

# Every state that the page shows, also those too short to be seen from outside; and breaches of its CSP.
_WATCH = """
window.seen = {states: [], breaches: []};
addEventListener("securitypolicyviolation", ({violatedDirective, blockedURI}) =>
  seen.breaches.push(`${violatedDirective} ${blockedURI}`));
addEventListener("DOMContentLoaded", () => {
  const element = document.querySelector("[data-testid=connection-state]");
  const note = () => seen.states.at(-1) === element.dataset.state || seen.states.push(element.dataset.state);
  new MutationObserver(note).observe(element, {attributeFilter: ["data-state"]});
});
"""

_ROWS = """(rows) => rows.map((row) => ({
  id: row.dataset.id ?? null,
  offset: Number(row.dataset.offset ?? 0),
  state: row.dataset.state,
  deleted: row.dataset.deleted === "true",
  text: row.querySelector("[data-testid=message-text]").textContent,
}))"""

# Rules of WCAG and the best practices of axe; `incomplete` is for people to judge.
_AXE = """async () => {
  const {violations} = await axe.run(document, {resultTypes: ["violations"]});
  return violations.flatMap(({id, nodes}) => nodes.map(({target, failureSummary}) =>
    `${id}: ${target.join(" ")}: ${failureSummary}`));
}"""

Row = dict[str, Any]
Visit = Callable[..., Awaitable["ChatPage"]]

expect.set_options(timeout=WAIT_MS)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A headless browser, gone at the end."""
    path = shutil.which("chromium")
    assert path is not None, "chromium not found: install it"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def demo(folder: Path, env: dict[str, str] | None = None) -> AsyncIterator[tuple[ServerProcess, Visit]]:
    """A development server, and pages of it: `await visit(user, screen)`. In the end no page has breached its policy or
    complained of anything but an outage, and the server has nothing to complain of."""
    pages: list[ChatPage] = []
    async with ServerProcess(folder, {"MARU_DEV": "1", **(env or {})}) as server, chromium() as browser:

        async def visit(user: str, screen: dict[str, Any] = DESKTOP) -> ChatPage:
            pages.append(await ChatPage.open(browser, server.url, user, folder, screen))
            return pages[-1]

        yield server, visit
        for page in pages:
            complaints = [text for text in page.complaints if not any(known in text for known in OUTAGE)]
            breaches = [] if page.page.is_closed() else await page.breaches()
            assert (breaches, complaints) == ([], [])
        assert server.faults() == []


class ChatPage:
    """One person at the page, in a browser profile of their own. `complaints` is what the console said: errors and
    warnings, and exceptions that nobody caught."""

    def __init__(self, page: Page, folder: Path) -> None:
        self.page = page
        self.complaints: list[str] = []
        self._folder = folder
        page.set_default_timeout(WAIT_MS)
        page.on("console", self._console)
        page.on("pageerror", self._error)
        self.composer = page.get_by_test_id("composer-input")
        self.messages = page.get_by_test_id("messages")
        self.rows = page.get_by_test_id("message")
        self.connection = page.get_by_test_id("connection-state")
        self.notice = page.get_by_test_id("notice")
        self.toast = page.get_by_test_id("toast")

    @classmethod
    async def open(cls, browser: Browser, url: str, user: str, folder: Path, screen: dict[str, Any]) -> "ChatPage":
        """Open the page as a user, and wait until it is online. Screenshots go to `folder`."""
        context = await browser.new_context(**screen)
        await context.add_init_script(_WATCH)
        chat = cls(await context.new_page(), folder)
        await chat.page.goto(f"{url}/?user={user}")
        await chat.is_online()
        return chat

    async def is_online(self) -> None:
        """Wait until the page says that it is."""
        await expect(self.connection).to_have_attribute("data-state", "online")

    async def shows(self, state: str) -> None:
        """Wait until the page has shown a state of its connection, if only for a moment."""
        await self.page.wait_for_function("(state) => seen.states.includes(state)", arg=state)

    async def states(self) -> list[str]:
        """The states of the connection that the page has shown."""
        states: list[str] = await self.page.evaluate("seen.states")
        return states

    async def breaches(self) -> list[str]:
        """What the page tried that its Content-Security-Policy forbids."""
        breaches: list[str] = await self.page.evaluate("seen.breaches")
        return breaches

    async def say(self, text: str) -> None:
        """Type a message and send it."""
        await self.composer.fill(text)
        await self.composer.press("Enter")

    def saying(self, text: str) -> Locator:
        """The rows with exactly this text."""
        return self.rows.filter(has=self.page.get_by_test_id("message-text").get_by_text(text, exact=True))

    async def sees(self, text: str, state: str = "sent") -> Locator:
        """Wait until the message is there, once, in a state; return its row."""
        row = self.saying(text)
        await expect(row).to_have_attribute("data-state", state)
        return row

    async def listed(self) -> list[Row]:
        """The messages on the page, from the top."""
        rows: list[Row] = await self.rows.evaluate_all(_ROWS)
        return rows

    async def switch(self, channel: str) -> None:
        """Go to another channel by the list at the side."""
        await self.channel(channel).click()

    async def add(self, channel: str) -> None:
        """Add a channel to the list at the side, and go there."""
        await self.page.get_by_test_id("add-channel").click()
        await self.page.get_by_test_id("add-channel-name").fill(channel)
        await self.page.get_by_test_id("add-channel-submit").click()

    def channel(self, name: str) -> Locator:
        """A channel in the list at the side."""
        return self.page.locator(f'[data-testid=channel][data-channel="{name}"]')

    async def badges(self, name: str, unread: int, mentions: int = 0) -> None:
        """Wait until the channel's badges show these numbers; nothing stands for none."""
        for badge, count, sign in (("unread", unread, ""), ("mentions", mentions, "@")):
            shown = f"{sign}{count}" if count else ""
            await expect(self.channel(name).get_by_test_id(badge)).to_have_text(shown)

    async def members(self, *users: str) -> None:
        """Wait until exactly these users are in the list of members, in this order."""
        shown = self.page.get_by_test_id("member")
        await expect(shown).to_have_count(len(users))
        for place, user in enumerate(users):
            await expect(shown.nth(place)).to_have_attribute("data-user", user)

    async def reactions(self, row: Locator, chips: dict[str, int]) -> None:
        """Wait until a message has exactly these reactions, in this order."""
        shown = row.get_by_test_id("reaction")
        await expect(shown).to_have_text([f"{emoji}{count}" for emoji, count in chips.items()])

    async def violations(self) -> list[str]:
        """What axe finds against the page as it is now."""
        await self.page.evaluate((ROOT / "clients/js-demo/node_modules/axe-core/axe.min.js").read_text())
        found: list[str] = await self.page.evaluate(_AXE)
        return found

    async def overflow(self) -> int:
        """By how many pixels the page is wider than the screen."""
        pixels: int = await self.page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
        return pixels

    async def picture(self, name: str) -> None:
        """Take a screenshot; where MARU_SCREENSHOTS names a folder, keep it there too."""
        await self.page.screenshot(path=self._folder / f"{name}.png")
        if keep := os.environ.get("MARU_SCREENSHOTS"):
            Path(keep).mkdir(parents=True, exist_ok=True)
            shutil.copy(self._folder / f"{name}.png", Path(keep) / f"{name}.png")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning", "assert"}:
            self.complaints.append(message.text)

    def _error(self, error: Error) -> None:
        self.complaints.append(f"uncaught: {error}")

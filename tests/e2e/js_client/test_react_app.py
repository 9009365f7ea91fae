"""The sample app of the JavaScript client (Vite, React, TypeScript), in Chromium against a real server."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, ConsoleMessage, Locator, Page, expect

from tests.e2e.js_client.conftest import CLIENT, npm
from tests.harness.page import OUTAGE, WAIT_MS, chromium
from tests.harness.server import ServerProcess
from tests.harness.static import served

GARDEN = "room:garden"

BEFORE, DURING, AFTER = 6, 5, 4
"""Messages sent while the server is there, while it is away, and after the reload."""


@pytest.fixture(scope="module")
def dist() -> Path:
    """The app, built as its README says: `tsc` finds nothing, and Vite writes the page."""
    npm("run", "example", folder=CLIENT)
    return CLIENT / "examples/react-app/dist"


class AppPage:
    """One person at the app. `complaints` is what the console said, and errors that nobody caught."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.state = page.get_by_test_id("state")
        self.messages = page.get_by_test_id("message")
        self.waiting = page.get_by_test_id("waiting")
        self.members = page.get_by_test_id("member")
        self.input = page.get_by_test_id("input")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(known in message.text for known in OUTAGE):
            self.complaints.append(message.text)

    async def say(self, text: str) -> None:
        """Type a message and send it."""
        await self.input.fill(text)
        await self.input.press("Enter")

    def saying(self, text: str) -> Locator:
        """The messages with exactly this text."""
        return self.messages.filter(has=self.page.locator("span").get_by_text(text, exact=True))

    async def texts(self) -> list[str]:
        """The texts of the messages, from the top."""
        return await self.messages.locator("span").all_text_contents()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A development server."""
    async with ServerProcess(tmp_path, {"MARU_DEV": "1"}) as running:
        yield running
        assert running.faults() == []


Visit = Callable[..., Awaitable[AppPage]]


@pytest.fixture
async def visit(server: ServerProcess, dist: Path) -> AsyncIterator[Visit]:
    """Opens the app as a user, in a browser profile of their own or in a given one. No page may complain."""
    pages: list[AppPage] = []
    async with chromium() as browser, served({"/": dist}) as front:

        async def open_page(user: str, profile: BrowserContext | None = None) -> AppPage:
            app = AppPage(await (profile or await browser.new_context()).new_page())
            pages.append(app)
            await app.page.goto(f"{front}/index.html?user={user}&server=http://localhost:{server.port}")
            await expect(app.state).to_have_text("online")
            return app

        yield open_page
        assert [page.complaints for page in pages] == [[]] * len(pages)


async def test_two_people(visit: Visit) -> None:
    """They see each other come and type, chat, and react; in StrictMode, which mounts everything twice."""
    alice, bob = await visit("alice"), await visit("bob")
    await expect(alice.members).to_have_text(["alice", "bob"])
    await alice.input.fill("Has anybody")
    await expect(bob.page.get_by_test_id("typing")).to_contain_text("alice")
    await alice.say("Has anybody seen the keys?")
    await expect(bob.saying("Has anybody seen the keys?")).to_have_count(1)
    await expect(bob.page.get_by_test_id("typing")).to_be_empty()
    await bob.page.get_by_test_id("thumb").click()
    await expect(alice.page.get_by_test_id("thumb")).to_have_text("👍 1")
    await alice.page.get_by_test_id("thumb").click()
    await expect(bob.page.get_by_test_id("thumb")).to_have_text("👍 2")
    await bob.page.get_by_test_id("thumb").click()
    await expect(alice.page.get_by_test_id("thumb")).to_have_text("👍 1")


async def test_unread_counts(visit: Visit) -> None:
    """What is said in another room is counted, until the room is opened; a reload changes nothing."""
    alice, bob = await visit("alice"), await visit("bob")
    await alice.say("Anybody here?")
    await bob.page.get_by_test_id(GARDEN).click()
    await expect(bob.messages).to_have_count(0)
    for number in range(3):
        await bob.say(f"In the garden {number}")
    unread = alice.page.get_by_test_id(GARDEN).get_by_test_id("unread")
    await expect(unread).to_have_text("3")
    await alice.page.get_by_test_id(GARDEN).click()
    await expect(alice.messages).to_have_count(3)
    await expect(unread).to_have_count(0)

    await bob.page.close()
    await alice.page.get_by_role("button", name="members").click()
    await alice.page.get_by_role("button", name="members").click()
    await alice.page.reload()
    await expect(unread).to_have_count(0)
    await expect(alice.messages).to_have_count(1)


async def test_a_kill_and_a_reload_lose_nothing_and_double_nothing(server: ServerProcess, visit: Visit) -> None:
    """The server dies while messages are sent, the page is loaded again while it is away, and more are written."""
    alice, bob = await visit("alice"), await visit("bob")
    texts = [f"message {number}" for number in range(BEFORE + DURING + AFTER)]
    for text in texts[:BEFORE]:
        await alice.say(text)
    await server.kill()
    for text in texts[BEFORE : BEFORE + DURING]:
        await alice.say(text)
    await expect(alice.waiting.last).to_have_text(texts[BEFORE + DURING - 1])
    await alice.page.reload()
    for text in texts[BEFORE + DURING :]:
        await alice.say(text)
    await expect(alice.waiting).to_have_count(AFTER)
    await server.start()
    await expect(alice.messages).to_have_count(len(texts))
    await expect(bob.messages).to_have_count(len(texts))
    await expect(alice.waiting).to_have_count(0)
    assert await bob.texts() == texts
    assert await alice.texts() == texts


async def test_a_closed_tab_leaves_its_messages_to_the_other(server: ServerProcess, visit: Visit) -> None:
    """Two tabs of one browser share a store: neither sends for the other while it is open. A tab that is closed with
    unsent messages is not the end of them."""
    bob = await visit("bob")
    one = await visit("alice")
    two = await visit("alice", one.page.context)
    await server.kill()
    await one.say("of the first tab")
    await two.say("of the second tab")
    await expect(one.waiting).to_have_text("of the first tab")
    await expect(two.waiting).to_have_text("of the second tab")
    await one.page.close()
    await server.start()
    await expect(bob.messages).to_have_count(2)
    await expect(two.waiting).to_have_count(0)
    assert sorted(await bob.texts()) == ["of the first tab", "of the second tab"]

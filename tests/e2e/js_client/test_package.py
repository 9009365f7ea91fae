"""The packed client in Node and in Chromium against a real server; the README's recipes, word for word."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clients.javascript import node
from tests.e2e.js_client.conftest import CLIENT
from tests.harness.page import chromium
from tests.harness.server import ServerProcess
from tests.harness.static import served
from tests.harness.tokens import token

RECIPES_S = 60.0
GRANTS = {"room:*": ["join", "send", "publish"]}

RECIPES: list[tuple[str, str]] = re.findall(
    r"^### (.+?)\n.*?^```js\n(.*?)^```", (CLIENT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)

BEGIN = """
import {{ createMaru }} from "@maru/client";
import {{ io }} from "socket.io-client";

class Area {{
  getItem(key) {{ return this[key] ?? null; }}
  setItem(key, value) {{ this[key] = value; }}
  removeItem(key) {{ delete this[key]; }}
}}
const url = {url};
const tokens = {tokens};
const connected = (user) => {{
  const client = createMaru({{ io, url, getToken: () => tokens[user] }});
  client.connect();
  return client;
}};
const getToken = () => tokens.alice;
const [maru, bob] = [connected("alice"), connected("bob")];
Object.assign(globalThis, {{ io, url, getToken, maru, bob, localStorage: new Area() }});
for (let number = 0; number < {count}; number++) {{
  console.log(`recipe ${{number}}`);
  await import(`./recipe${{number}}.mjs`);
}}
maru.close();
bob.close();
"""

IN_CHROMIUM = """<!doctype html><link rel="icon" href="data:,">
<script type="importmap">{"imports": {
  "@maru/client": "/node_modules/@maru/client/src/index.js",
  "@maru/client/storage": "/node_modules/@maru/client/src/storage.js",
  "socket.io-client": "/node_modules/socket.io-client/dist/socket.io.esm.min.js"}}</script>
<script type="module">
import { createMaru } from "@maru/client";
import { indexedDbStore } from "@maru/client/storage";
import { io } from "socket.io-client";
const [url, token] = location.hash.slice(1).split("|");
const maru = createMaru({ io, url, getToken: () => token, inbox: 10, storage: indexedDbStore("alice") });
const inbox = new Promise((resolve) => maru.on("inbox", resolve));
maru.connect();
const room = maru.channel("room:page");
await room.join({ history: 10 });
const { message } = await room.send("from a page without a build");
const { members } = await room.presence();
globalThis.outcome = [message.text, members.map(({ user }) => user), maru.unsent(), (await inbox).channels];
</script>"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server that takes pages of any origin."""
    async with ServerProcess(tmp_path) as running:
        yield running
        assert running.faults() == []


def test_the_recipes_are_many() -> None:
    """They are found at all."""
    assert len(RECIPES) >= 10


async def test_each_recipe_prints_what_its_comments_say(server: ServerProcess, project: Path) -> None:
    """All of them, one after another, as modules of a project."""
    for number, (_, code) in enumerate(RECIPES):
        (project / f"recipe{number}.mjs").write_text(code)
    tokens = {user: token(user, GRANTS) for user in ("alice", "bob")}
    begin = BEGIN.format(url=json.dumps(server.url), tokens=json.dumps(tokens), count=len(RECIPES))
    (project / "recipes.mjs").write_text(begin)
    said = project / "output"
    with said.open("w") as file:
        process = await asyncio.create_subprocess_exec(*node(project / "recipes.mjs"), stdout=file, stderr=file)
        ended = asyncio.create_task(process.wait())
        await asyncio.wait([ended], timeout=RECIPES_S)
        if not ended.done():
            process.kill()
            await ended
    output = said.read_text()
    assert process.returncode == 0, output
    printed = [part.splitlines()[1:] for part in output.split("recipe ")[1:]]
    expected = [re.findall(r"console\.log\(.*\); // (.+)", code) for _, code in RECIPES]
    names = [name for name, _ in RECIPES]
    assert dict(zip(names, printed, strict=True)) == dict(zip(names, expected, strict=True))


async def test_a_page_without_a_build(server: ServerProcess, project: Path) -> None:
    """An import map is all that Chromium needs; the store is IndexedDB."""
    (project / "page.html").write_text(IN_CHROMIUM)
    async with chromium() as browser, served({"/": project}) as front:
        page = await browser.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text))
        await page.goto(f"{front}/page.html#{server.url}|{token('alice')}")
        outcome = await (await page.wait_for_function("globalThis.outcome")).json_value()
        assert outcome == ["from a page without a build", ["alice"], [], []]
        assert faults == []

"""The Kotlin recipe of PROTOCOL.md, compiled as it stands there, through a bad token, a kill and a drain."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.clients.raw import RawSocket
from tests.clients_of_others.clients import BUILT, HERE
from tests.harness.program import Program
from tests.harness.protocol_document import examples, section
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

ROOM = "room:recipe"
CALM_S = 30.0
"""The longest that the library takes to come back: its pauses grow to 5 s while nothing listens."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def classpath() -> str:
    """Compile the recipe and the program that drives it; return where the classes are."""
    built = BUILT / "kotlin"
    (built / "recipe").mkdir(parents=True, exist_ok=True)
    (built / "recipe/Chat.kt").write_text(examples(section("Kotlin and Java"), "kotlin")[0])
    maven = shutil.which("mvn")
    assert maven is not None, "mvn not found: install Maven"
    goals = ("compile", "dependency:build-classpath", f"-Dmdep.outputFile={built}/classpath")
    process = await asyncio.create_subprocess_exec(
        maven, "-q", "-B", "-f", str(HERE / "kotlin/pom.xml"), *goals, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return f"{built}/classes:{(built / 'classpath').read_text()}"


class Recipe:
    """The program. Use as an async context manager; `texts` are those of the events that it was given."""

    def __init__(self, classpath: str, url: str, tokens: Path) -> None:
        java = shutil.which("java")
        assert java is not None, "java not found: install it"
        self.texts: list[str] = []
        self._offsets: list[int] = []
        self._changed = asyncio.Event()
        self.program = Program(
            java, "-XX:TieredStopAtLevel=1", "-cp", classpath, "MainKt", url, str(tokens), react=self._heard
        )

    def _heard(self, event: dict[str, Any]) -> None:
        self.texts.append(event["message"]["text"])
        self._offsets.append(event["offset"])
        self._changed.set()

    async def has(self, *texts: str) -> None:
        """Wait until it has been given so many events: these texts in some order, and the offsets without a hole."""
        await until(lambda: len(self.texts) >= len(texts), self._changed, CALM_S, lambda: str(self.texts))
        assert sorted(self.texts) == sorted(texts)
        assert self._offsets == list(range(1, len(texts) + 1))


async def said(server: ServerProcess, text: str) -> None:
    """Let somebody else say something, and leave."""
    other = await RawSocket.chat(server.port, token("other"))
    assert (await other.ask("message:send", {"channel": ROOM, "text": text}))["ok"]
    await other.leave()


async def restarted(server: ServerProcess, text: str) -> None:
    """Start the server again, and let somebody else be there first."""
    await server.start()
    await said(server, text)


async def drained(server: ServerProcess) -> None:
    """Stop the server: the client leaves at the time that it is given, before it is closed."""
    began = len(server.lines)
    assert await server.terminate() == 0
    ends = [line["reason"] for line in server.lines[began:] if line["event"] == "connection.closed"]
    assert ends == ["client left"]


async def test_the_kotlin_recipe(classpath: str, tmp_path: Path) -> None:
    """It is refused until its token is good, says what it has to say once, and misses nothing: live, over a kill of the
    server, and over a drain. It refreshes a token that is about to end, so its session outlives that token."""
    tokens = tmp_path / "token"
    tokens.write_text("bad")
    env = {"MARU_TOKEN_GRACE": "0s", "MARU_JWT_LEEWAY": "0s"}
    async with ServerProcess(tmp_path, env) as server:
        recipe = Recipe(classpath, server.url, tokens)
        async with recipe.program as program:
            for do in ("join", "send"):
                program.say({"do": do, "channel": ROOM, "text": "early"})
            await server.logged(lambda line: line.get("reason") == "CONNECT refused: unauthenticated")
            tokens.write_text(token("recipe", ttl_s=64))
            await recipe.has("early")
            await said(server, "live")
            await recipe.has("early", "live")
            tokens.write_text(token("recipe"))
            refreshed = await server.logged(
                lambda line: line.get("event") == "command" and line["name"] == "auth:refresh", timeout=CALM_S
            )
            assert refreshed["outcome"] == "ok"
            await server.kill()
            program.say({"do": "send", "channel": ROOM, "text": "offline"})
            await restarted(server, "missed")
            await recipe.has("early", "live", "offline", "missed")
            await drained(server)
            await restarted(server, "after the drain")
            await recipe.has("early", "live", "offline", "missed", "after the drain")

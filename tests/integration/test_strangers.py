"""What a stranger learns of messages that are not theirs, and what their names and texts become."""

from typing import Any

import aiohttp
import pytest

from tests.clients.raw import RawSocket
from tests.harness.tokens import token
from tests.integration.conftest import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOM = "room:strangers"
UNKNOWN_ID = "01890000-0000-7000-8000-000000000000"


async def answers(client: RawSocket, id: str) -> list[dict[str, Any]]:
    """The answers to an edit and to a deletion of a message."""
    edit = await client.ask("message:edit", {"channel": ROOM, "id": id, "text": "mine"})
    return [edit, await client.ask("message:delete", {"channel": ROOM, "id": id})]


async def test_who_may_only_send_learns_of_no_message(scene: Scene) -> None:
    """A message of another, one that was deleted by its author, one by a moderator, and one that never was: all answers
    are equal. The author, who repeats a deletion whose answer was lost, gets it again."""
    alice = await scene.chat("alice")
    moderator = await scene.chat(token=token("mo", {"room:*": ["moderate"]}))
    stranger = await scene.chat(token=token("mallory", {"room:*": ["send"]}))
    ids = [(await alice.ask("message:send", {"channel": ROOM, "text": "x"}))["message"]["id"] for _ in range(3)]
    first = await alice.ask("message:delete", {"channel": ROOM, "id": ids[1]})
    assert (await moderator.ask("message:delete", {"channel": ROOM, "id": ids[2]}))["ok"]
    unknown = await answers(stranger, UNKNOWN_ID)
    assert [answer["error"]["code"] for answer in unknown] == ["permission_denied"] * 2
    for id in ids:
        assert await answers(stranger, id) == unknown
    assert await alice.ask("message:delete", {"channel": ROOM, "id": ids[1]}) == first
    edit, again = await answers(alice, ids[2])
    assert (edit["error"]["code"], again["ok"]) == ("conflict", True)
    for client in (alice, moderator, stranger):
        await client.leave()
        await scene.ended(client, "client closed", 1000)
    await scene.clean()


async def test_what_a_name_and_a_text_become(scene: Scene) -> None:
    """Members are sent a name without what hides or turns letters, and a text whose lines end alike."""
    mallory = await scene.chat(token=token("mallory", name="\u202eecila\u200b Zoe\u0308"))
    member = await scene.chat("member")
    assert (await member.ask("channel:join", {"channel": ROOM}))["ok"]
    sent = await mallory.ask("message:send", {"channel": ROOM, "text": "one\r\ntwo\rthree\ttab\u202e"})
    created = (await member.event("message:created"))["message"]
    assert created == sent["message"]
    assert created["author"] == {"id": "mallory", "name": "ecila Zo\u00eb"}
    assert created["text"] == "one\ntwo\nthree\ttab\u202e"
    for client in (mallory, member):
        await client.leave()
        await scene.ended(client, "client closed", 1000)
    await scene.clean()


@pytest.mark.parametrize("sub", ["\u202eecila", "ali\u200bce", "zoe\u0308", "\u3164"])
async def test_a_user_id_that_looks_like_another_gets_no_session(scene: Scene, sub: str) -> None:
    """Nor does a refresh to it."""
    client = await scene.chat()
    refused = await client.ask("auth:refresh", {"token": token(sub)})
    assert refused["error"]["code"] == "unauthenticated"
    assert "'sub'" in refused["error"]["message"]
    await client.leave()
    await scene.ended(client, "client closed", 1000)
    await scene.clean()


async def test_tokens_of_any_service_are_warned_of(scene: Scene) -> None:
    """This server asks for neither an issuer nor an audience, and has said so once, before it served."""
    events = [line["event"] for line in scene.server.lines]
    assert events.count("tokens.any_issuer") == 1
    assert events.index("tokens.any_issuer") < events.index("serving")


async def test_no_answer_names_the_software(scene: Scene) -> None:
    """Neither a refused handshake nor another path of either port."""
    server = scene.server
    urls = [f"{server.url}/socket.io/?EIO=4&transport=polling", f"{server.url}/nowhere", f"{server.url}/session"]
    urls += [f"http://127.0.0.1:{server.internal_port}/{path}" for path in ("livez", "metrics", "nowhere")]
    async with aiohttp.ClientSession() as http:
        for url in urls:
            async with http.get(url) as answer:
                assert "Server" not in answer.headers, url
    await scene.clean()

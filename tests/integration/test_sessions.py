"""The life of a session: expiry, renewal, lost grants, limits, and clients that will not go."""

import asyncio
import time
from datetime import datetime
from typing import Any

import pytest

from loadtest.frames import Opcode
from tests.clients.frames import masked
from tests.clients.raw import connect, event
from tests.harness.tokens import token
from tests.integration.conftest import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

GRACE_S = 0.5
SERVER_ENV = {"MARU_TOKEN_GRACE": f"{GRACE_S}s", "MARU_JWT_LEEWAY": "0s"}

FOREVER = 3_600
"""Seconds."""

CONNECTED_S = 3
"""A token's life that is short, and outlasts a handshake and a command on a busy machine."""


def refresh(user: str, **how: Any) -> tuple[str, dict[str, str]]:
    """The command that brings a new token."""
    return "auth:refresh", {"token": token(user, **how)}


async def test_an_expired_session_is_ended(scene: Scene) -> None:
    """The client is told that its token expires; at `exp` plus the grace it is told why, and closed with 1000."""
    client = await scene.chat("short", token=token("short", ttl_s=2))
    expiring = await client.event("session:expiring")
    expires_at = datetime.fromisoformat(expiring["expires_at"]).timestamp()
    assert (await client.ask("channel:join", {"channel": "room:expiry"}))["ok"]
    terminated = await client.event("session:terminated")
    late = time.time() - expires_at
    assert terminated["code"] == "token_expired"
    assert GRACE_S <= late < GRACE_S + 1.0
    assert await client.text() == "41/chat,"
    frame = await client.closed()
    assert (frame.code, frame.reason) == (1000, "terminated: token_expired")
    await scene.ended(client, "terminated: token_expired", 1000)
    await scene.clean()


async def test_a_session_within_its_grace_still_works(scene: Scene) -> None:
    """Between `exp` and the end a client can still bring a new token: then it stays."""
    client = await scene.chat("grace", token=token("grace", ttl_s=CONNECTED_S))
    answer = await client.ask(*refresh("grace", ttl_s=FOREVER))
    assert answer["ok"]
    observer = await scene.chat("observer", token=token("observer", ttl_s=CONNECTED_S + 1))
    await observer.event("session:terminated")
    assert (await client.ask("channel:leave", {"channel": "room:x"}))["ok"]
    assert [text for text in client.unread if "terminated" in text] == []
    assert (await observer.text(), (await observer.closed()).code) == ("41/chat,", 1000)
    await client.leave()
    await scene.clean()


async def test_a_refused_refresh_changes_nothing(scene: Scene) -> None:
    """A token of another user, a broken one and an expired one are refused; the session goes on with its own."""
    client = await scene.chat()
    for command, code in (
        (refresh("victim"), "unauthenticated"),
        (refresh("mallory", ttl_s=-60), "token_expired"),
        (("auth:refresh", {"token": token("mallory") + "x"}), "unauthenticated"),
    ):
        assert (await client.ask(*command))["error"]["code"] == code
    sent = await client.ask("message:send", {"channel": "room:own", "text": "still here"})
    assert sent["message"]["author"]["id"] == "mallory"
    await client.leave()
    await scene.clean()


async def test_lost_grants_remove_channels(scene: Scene) -> None:
    """A refresh with fewer grants takes the session out of what they do not cover, at once, and says so."""
    client, other = await scene.chat(), await scene.chat("other")
    for channel in ("room:a", "room:b"):
        assert (await client.ask("channel:join", {"channel": channel}))["ok"]
    assert (await client.ask(*refresh("mallory", grants={"room:b": ["join"]})))["ok"]
    assert await client.event("channel:removed") == {"channel": "room:a", "code": "permission_denied"}
    for channel in ("room:a", "room:b"):
        assert (await other.ask("message:send", {"channel": channel, "text": "hello"}))["ok"]
    assert (await client.event("message:created"))["channel"] == "room:b"
    for command in ("channel:join", "history:read"):
        assert (await client.ask(command, {"channel": "room:a"}))["error"]["code"] == "permission_denied"
    sent = await client.ask("message:send", {"channel": "room:b", "text": "no grant to send"})
    assert sent["error"]["code"] == "permission_denied"
    assert client.unread == []
    await client.leave()
    await other.leave()
    await scene.clean()


async def test_a_terminated_client_that_stays_is_cut(scene: Scene) -> None:
    """A client that ignores DISCONNECT and close gets nothing any more, whatever it sends, and TCP ends 2 s later."""
    client = await scene.chat("stubborn", token=token("stubborn", ttl_s=CONNECTED_S))
    await client.event("session:terminated")
    assert await client.text() == "41/chat,"
    assert (await client.frame()).opcode == Opcode.CLOSE
    began = time.monotonic()
    await client.say(connect({"token": token("stubborn")}))
    await client.say(event("message:send", {"channel": "room:stubborn", "text": "I am still here"}, ack=1))
    await client.send(masked("?", Opcode.PING))
    assert await client.rest(timeout=4.0) == b""
    assert 1.5 < time.monotonic() - began < 4.0
    await scene.ended(client, "terminated: token_expired", 1000)
    observer = await scene.chat("observer")
    assert (await observer.ask("history:read", {"channel": "room:stubborn"}))["messages"] == []
    await observer.leave()
    await scene.clean()


async def test_a_session_may_be_in_500_channels(scene: Scene) -> None:
    """The 501st join is `too_many_channels`; joining one again is not; leaving one makes room."""
    client = await scene.chat()
    joins = [event("channel:join", {"channel": f"room:many-{number}"}, ack=number) for number in range(500)]
    client.push(b"".join(map(masked, joins)))
    for number in range(500):
        assert (await client.ack(number))["ok"]
    refused = await client.ask("channel:join", {"channel": "room:one-more"})
    assert (refused["error"]["code"], refused["error"]["details"]) == ("too_many_channels", {"limit": 500})
    assert (await client.ask("channel:join", {"channel": "room:many-7"}))["ok"]
    assert (await client.ask("channel:leave", {"channel": "room:many-7"}))["ok"]
    assert (await client.ask("channel:join", {"channel": "room:one-more"}))["ok"]
    await client.leave()
    await scene.clean()


async def test_a_resume_of_500_channels(scene: Scene) -> None:
    """A client may resume 500 channels in one CONNECT: each is answered before `session:ready`."""
    client = await scene.open()
    resume: dict[str, object] = {f"room:resumed-{number}": {"epoch": "gone", "offset": 3} for number in range(499)}
    resume["secret:1"] = {"epoch": "gone", "offset": 3}
    ready = await client.join_chat(token("mallory"), resume)
    assert ready["limits"]["resume_channels"] == 500
    assert len(client.unread) == 500
    for number in range(499):
        resumed = await client.event("channel:resumed")
        assert (resumed["channel"], resumed["recovered"], resumed["reason"], resumed["events"]) == (
            f"room:resumed-{number}",
            False,
            "epoch_changed",
            [],
        )
    assert await client.event("channel:removed") == {"channel": "secret:1", "code": "permission_denied"}
    assert (await client.ask("channel:join", {"channel": "room:the-500th"}))["ok"]
    refused = await client.ask("channel:join", {"channel": "room:one-more"})
    assert refused["error"]["code"] == "too_many_channels"
    await client.leave()
    await scene.clean()


async def test_a_client_that_leaves_while_it_resumes(scene: Scene) -> None:
    """A connection that ends in the middle of its admission leaves no session and no membership."""
    resume: dict[str, object] = {f"room:fleeting-{number}": {"epoch": "gone", "offset": 3} for number in range(400)}
    hello = masked(connect({"token": token("mallory"), "resume": resume}))
    for wait in (False, True):
        clients = [await scene.open() for _ in range(10)]
        for client in clients:
            client.push(hello)
        if wait:
            await asyncio.gather(*(client.text() for client in clients))
        for client in clients:
            client.vanish()
        await scene.clean()
    witness = await scene.chat("witness")
    assert (await witness.ask("message:send", {"channel": "room:fleeting-1", "text": "anybody?"}))["ok"]
    await witness.leave()
    await scene.clean()

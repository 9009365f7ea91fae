"""Orders of backends to a single server: revocations, removals, ends and refreshes, as clients see them."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.clients.raw import RawSocket
from tests.harness.backend import API_ENV, call
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.watched import Watched
from tests.integration.conftest import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVER_ENV = API_ENV

HOUR_S = 3_600
DAYS_30_S = 30 * 24 * HOUR_S


def seconds(text: str) -> float:
    """The time of an answer."""
    return datetime.fromisoformat(text).timestamp()


async def revoked(server: ServerProcess, body: dict[str, Any]) -> dict[str, Any]:
    """Revoke, and return the answer."""
    status, answer = await call(server, "POST", "/revocations", body)
    assert status == 201, answer
    assert isinstance(answer, dict)
    return answer


async def refusal(server: ServerProcess, with_token: str) -> str:
    """The code with which a CONNECT is refused."""
    client = await RawSocket.open(server.port)
    try:
        return await client.refused(with_token)
    finally:
        client.vanish()


async def admitted(server: ServerProcess, with_token: str) -> None:
    """A CONNECT that is good."""
    client = await RawSocket.chat(server.port, with_token)
    await client.leave()


async def ended(client: RawSocket, code: str) -> None:
    """The client is told why it has to go, is disconnected for good, and closed."""
    assert (await client.event("session:terminated"))["code"] == code
    assert await client.text() == "41/chat,"
    frame = await client.closed()
    assert (frame.code, frame.reason) == (1000, f"terminated: {code}")


async def test_the_tokens_of_a_user(scene: Scene) -> None:
    """Those that were issued before: sessions end, CONNECT and `auth:refresh` are refused. A later token is good."""
    old, later = token("thief", iat=int(time.time()) - 60), token("thief", iat=int(time.time()) + 5)
    clients = [await scene.chat("thief", token=old) for _ in range(3)]
    fresh, other = await scene.chat("thief", token=later), await scene.chat("else")
    answer = await revoked(scene.server, {"user": "thief"})
    assert set(answer) == {"id", "user", "issued_before", "expires_at"}
    assert answer["user"] == "thief"
    assert seconds(answer["issued_before"]) == pytest.approx(time.time(), abs=5)
    assert seconds(answer["expires_at"]) - seconds(answer["issued_before"]) == pytest.approx(DAYS_30_S)
    for client in clients:
        await ended(client, "token_revoked")
    assert await refusal(scene.server, old) == "token_revoked"
    assert (await fresh.ask("auth:refresh", {"token": old}))["error"]["code"] == "token_revoked"
    await admitted(scene.server, later)
    for client in (fresh, other):
        assert (await client.ask("message:send", {"channel": "room:1", "text": "still here"}))["ok"]
        await client.leave()
    await scene.clean()


async def test_times_as_text_and_as_numbers(scene: Scene) -> None:
    """`issued_before` in both forms; a token of the very second stays good, and one of the second before does not."""
    moment = int(time.time()) - 100
    for number, given in enumerate((moment, moment + 0.9, datetime.fromtimestamp(moment, UTC).isoformat())):
        user = f"timed-{number}"
        answer = await revoked(scene.server, {"user": user, "issued_before": given})
        assert int(seconds(answer["issued_before"])) == moment
        await admitted(scene.server, token(user, iat=moment))
        assert await refusal(scene.server, token(user, iat=moment - 1)) == "token_revoked"


async def test_a_single_token(scene: Scene) -> None:
    """By its `jti`: the sessions that use it now. A session that has taken another token stays; so do others."""
    stolen, own = token("careless", jti="stolen"), token("careless", jti="own")
    thief, moved, owner = [await scene.chat("careless", token=each) for each in (stolen, stolen, own)]
    assert (await moved.ask("auth:refresh", {"token": own}))["ok"]
    answer = await revoked(scene.server, {"jti": "stolen"})
    assert set(answer) == {"id", "jti", "issued_before", "expires_at"}
    await ended(thief, "token_revoked")
    assert await refusal(scene.server, stolen) == "token_revoked"
    assert (await owner.ask("auth:refresh", {"token": stolen}))["error"]["code"] == "token_revoked"
    for client in (moved, owner):
        assert (await client.ask("channel:leave", {"channel": "room:1"}))["ok"]
        await client.leave()
    await scene.clean()


async def test_a_ban_and_its_end(scene: Scene) -> None:
    """All tokens of a user, also those to come and those that do not say when they were issued, until it is lifted."""
    later = token("banned", iat=int(time.time()) + 60)
    client = await scene.chat("banned", token=later)
    answer = await revoked(scene.server, {"user": "banned", "ban": True})
    assert answer["ban"] is True
    await ended(client, "token_revoked")
    assert await refusal(scene.server, later) == "token_revoked"
    listed = (await call(scene.server, "GET", "/revocations"))[1]["revocations"]
    assert answer in listed
    path = f"/revocations/{answer['id']}"
    assert await call(scene.server, "DELETE", path) == (204, None)
    await admitted(scene.server, later)
    status, body = await call(scene.server, "DELETE", path)
    assert (status, body["error"]["code"]) == (404, "not_found")
    await scene.clean()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "user"),
        ({"user": "a", "jti": "b"}, "user"),
        ({"user": None}, "user"),
        ({"user": ""}, "user"),
        ({"user": "a\n"}, "user"),
        ({"user": "a" * 129}, "user"),
        ({"user": 7}, "user"),
        ({"jti": ""}, "jti"),
        ({"jti": "a\u0000"}, "jti"),
        ({"jti": "a" * 129}, "jti"),
        ({"user": "a", "ban": "yes"}, "ban"),
        ({"user": "a", "issued_before": True}, "issued_before"),
        ({"user": "a", "issued_before": -1}, "issued_before"),
        ({"user": "a", "issued_before": 1e20}, "issued_before"),
        ({"user": "a", "issued_before": "yesterday"}, "issued_before"),
        ({"user": "a", "issued_before": "2026-11-29"}, "issued_before"),
        ({"user": "a", "issued_before": "2026-11-29T12:00:00"}, "issued_before"),
        ({"user": "a", "issued_before": "2026-11-29T12:00:00Z" + " " * 40}, "issued_before"),
        ({"user": "a", "issued_before": "1960-11-29T12:00:00Z"}, "issued_before"),
        ({"user": "a", "issued_before": "2999-11-29T12:00:00Z"}, "issued_before"),
    ],
)
async def test_a_bad_request_revokes_nothing(server: ServerProcess, body: dict[str, Any], field: str) -> None:
    """It is told which field is wrong."""
    status, answer = await call(server, "POST", "/revocations", body)
    assert (status, answer["error"]["code"], answer["error"]["details"]["field"]) == (400, "bad_request", field)


async def test_a_member_is_removed(scene: Scene) -> None:
    """From one channel, in all sessions, once; without a denial the user may come back at once."""
    room, others = "room:removals", "room:else"
    tabs = [await scene.chat("noisy") for _ in range(2)]
    for tab in tabs:
        assert (await tab.ask("channel:join", {"channel": room}))["ok"]
        assert (await tab.ask("channel:join", {"channel": others}))["ok"]
    assert await call(scene.server, "DELETE", f"/channels/{room}/members/noisy") == (204, None)
    for tab in tabs:
        assert await tab.event("channel:removed") == {"channel": room, "code": "permission_denied"}
    assert (await tabs[0].ask("message:send", {"channel": room, "text": "x"}))["ok"]
    assert (await tabs[0].ask("channel:join", {"channel": room}))["ok"]
    assert await call(scene.server, "DELETE", f"/channels/{room}/members/nobody") == (204, None)
    for tab in tabs:
        await tab.leave()
        assert [text for text in tab.unread if "removed" in text] == []
    await scene.clean()


async def test_a_member_is_denied(scene: Scene) -> None:
    """For a time it is as if nothing were granted there, also to new sessions, by every command and by a resume. Other
    channels and other users are free."""
    room = "room:denials"
    client = await scene.chat("rude")
    joined = await client.ask("channel:join", {"channel": room})
    sent = await client.ask("message:send", {"channel": room, "text": "rude words", "key": "1"})
    assert await call(scene.server, "DELETE", f"/channels/{room}/members/rude?deny_s=300") == (204, None)
    until = time.time() + 300
    assert await client.event("channel:removed") == {"channel": room, "code": "permission_denied"}
    again = await scene.chat("rude")
    for tab in (client, again):
        for name, payload in (
            ("channel:join", {"channel": room}),
            ("channel:join", {"channel": room, "history": 5}),
            ("message:send", {"channel": room, "text": "more"}),
            ("message:edit", {"channel": room, "id": sent["message"]["id"], "text": "other words"}),
            ("message:delete", {"channel": room, "id": sent["message"]["id"]}),
            ("history:read", {"channel": room}),
        ):
            error = (await tab.ask(name, payload))["error"]
            assert error["code"] == "permission_denied"
            assert seconds(error["details"]["denied_until"]) == pytest.approx(until, abs=10)
        assert (await tab.ask("message:send", {"channel": "room:elsewhere", "text": "hello"}))["ok"]
    await again.leave()
    position = {"epoch": joined["epoch"], "offset": joined["offset"]}
    resumed = await RawSocket.chat(scene.server.port, token("rude"), {room: position})
    assert [text for text in resumed.unread if "channel:removed" in text] == [
        f'42/chat,["channel:removed",{{"channel":"{room}","code":"permission_denied"}}]'
    ]
    assert (await client.ask("auth:refresh", {"token": token("rude")}))["ok"]
    polite = await scene.chat("polite")
    assert (await polite.ask("channel:join", {"channel": room}))["ok"]
    assert await call(scene.server, "DELETE", f"/channels/{room}/members/rude?deny_s=0") == (204, None)
    for name in ("channel:join", "history:read"):
        assert (await client.ask(name, {"channel": room}))["ok"]
    for each in (client, resumed, polite):
        await each.leave()
    await scene.clean()


async def test_a_denial_ends_by_itself(scene: Scene) -> None:
    """After its seconds."""
    room, client = "room:short", await scene.chat("brief")
    assert await call(scene.server, "DELETE", f"/channels/{room}/members/brief?deny_s=1") == (204, None)
    until = time.time() + 1
    assert (await client.ask("channel:join", {"channel": room}))["error"]["code"] == "permission_denied"
    while not (await client.ask("channel:join", {"channel": room}))["ok"]:
        assert time.time() < until + 5
    assert time.time() > until - 0.5
    await client.leave()
    await scene.clean()


@pytest.mark.parametrize("query", ["deny_s=-1", "deny_s=2592001", "deny_s=1.5", "deny_s=x", "deny_s="])
async def test_a_bad_time_removes_nobody(server: ServerProcess, query: str) -> None:
    """0 to 30 days, in whole seconds."""
    status, answer = await call(server, "DELETE", f"/channels/room:1/members/alice?{query}")
    assert (status, answer["error"]["details"]["field"]) == (400, "deny_s")


async def test_sessions_are_ended(scene: Scene) -> None:
    """All of a user: their clients stay away, and may come back by themselves with the same token."""
    tabs = [await scene.chat("leaver") for _ in range(2)]
    other = await scene.chat("stayer")
    assert await call(scene.server, "DELETE", "/users/leaver/sessions") == (204, None)
    for tab in tabs:
        await ended(tab, "unauthenticated")
    await admitted(scene.server, token("leaver"))
    assert await call(scene.server, "DELETE", "/users/nobody/sessions") == (204, None)
    assert (await other.ask("channel:leave", {"channel": "room:1"}))["ok"]
    await other.leave()
    await scene.clean()


async def test_sessions_begin_anew(scene: Scene) -> None:
    """Their clients are told to come back, and closed as in a drain: with what they have sent answered."""
    tab = await scene.chat("mover")
    assert await call(scene.server, "DELETE", "/users/mover/sessions?reconnect=true") == (204, None)
    notice = await tab.event("session:draining")
    assert notice == {"reconnect_in_ms": 0, "deadline_ms": 1000}
    assert (await tab.ask("message:send", {"channel": "room:1", "text": "on the way out"}))["ok"]
    frame = await tab.closed()
    assert (frame.code, frame.reason) == (1012, "server restarts")
    await admitted(scene.server, token("mover"))
    await scene.clean()


async def test_sessions_are_asked_to_refresh(scene: Scene) -> None:
    """Within 30 s. A session that does goes on, with what the new token grants."""
    tab = await scene.chat("promoted", token=token("promoted", {"room:*": ["join"]}, iat=int(time.time()) - 60))
    assert (await tab.ask("channel:join", {"channel": "room:refresh"}))["ok"]
    status, answer = await call(scene.server, "POST", "/users/promoted/refresh")
    assert status == 200
    asked = await tab.event("session:expiring")
    assert asked == {"expires_at": answer["expires_at"], "reason": "refresh"}
    assert seconds(asked["expires_at"]) == pytest.approx(time.time() + 30, abs=5)
    assert (await tab.ask("auth:refresh", {"token": token("promoted", {"room:else": ["join", "send"]})}))["ok"]
    assert await tab.event("channel:removed") == {"channel": "room:refresh", "code": "permission_denied"}
    await tab.leave()
    assert (await call(scene.server, "POST", "/users/nobody/refresh"))[0] == 200
    await scene.clean()


async def test_metrics_tell(server: ServerProcess) -> None:
    """How many entries are in force, and why sessions were ended."""
    watched = Watched(server)
    await watched.begin()
    await revoked(server, {"jti": "unused"})
    assert await call(server, "DELETE", "/channels/room:1/members/nobody?deny_s=60") == (204, None)
    for user in ("counted-1", "counted-2"):
        client = await watched.chat(user)
        assert (await call(server, "DELETE", f"/users/{user}/sessions"))[0] == 204
        await ended(client, "unauthenticated")
        client.vanish()
    growth = await watched.grown(
        {"maru_revocations": 1, "maru_denials": 1, 'maru_sessions_ended_total{cause="unauthenticated"}': 2}
    )
    assert growth['maru_sessions_ended_total{cause="token_revoked"}'] == 0


@pytest_asyncio.fixture(loop_scope="module")
async def mortal(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server for one test."""
    async with ServerProcess(tmp_path, API_ENV) as process:
        yield process


async def test_the_file_keeps_what_was_revoked(mortal: ServerProcess) -> None:
    """Killed right behind the answer, and started again: the token is refused, and the user kept out."""
    stolen = token("alice", jti="stolen")
    answer = await revoked(mortal, {"jti": "stolen"})
    assert await call(mortal, "DELETE", "/channels/room:1/members/bob?deny_s=600") == (204, None)
    await mortal.kill()
    await mortal.start()
    assert await refusal(mortal, stolen) == "token_revoked"
    bob = await RawSocket.chat(mortal.port, token("bob"))
    assert (await bob.ask("channel:join", {"channel": "room:1"}))["error"]["code"] == "permission_denied"
    bob.vanish()
    assert (await call(mortal, "GET", "/revocations"))[1] == {"revocations": [answer]}
    assert stolen not in mortal.output
    assert mortal.faults() == []

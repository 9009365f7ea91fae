"""Clients behind a proxy: who they are, how much each address may do, and what others notice of it.

The proxy is 127.0.0.1, so that a test says by `X-Forwarded-For` who it is; 127.0.0.2 is a client without a proxy.
"""

import asyncio
import json
import time

import pytest

from bench.processes import cpu_s
from tests.clients.raw import PATH, RawSocket, handshake
from tests.conftest import Figure
from tests.harness.attack import Requests
from tests.harness.tokens import token
from tests.harness.victim import Victim
from tests.integration.conftest import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

BURST = 20

SERVER_ENV = {
    "MARU_TRUSTED_PROXIES": "127.0.0.1",
    "MARU_LIMITS": json.dumps({"address": [5, BURST], "session": [0, 0], "send_user": [0, 0], "join_session": [0, 0]}),
    "MARU_ADDRESS_CONNECTIONS": "8",
    "MARU_ADDRESS_UNCONNECTED": "4",
    "MARU_MESSAGE_LOG": "memory",
}

WAIT_S = 0.5

POLLING = "/socket.io/?EIO=4&transport=polling"


def behind(address: str, path: str = PATH, **headers: str) -> bytes:
    """A handshake that came through the proxy."""
    return handshake(path, {"X-Forwarded-For": address} | headers)


async def asked(scene: Scene, request: bytes) -> tuple[int, bytes]:
    """Status and body of the answer."""
    client = await scene.dial()
    client.push(request)
    answer = await client.response()
    client.vanish()
    return answer


async def test_the_log_names_the_client(scene: Scene) -> None:
    """`remote` is the address behind the proxy, of accepted and of refused handshakes."""
    client = await scene.open(headers={"X-Forwarded-For": "192.0.2.1, 203.0.113.1"})
    await client.leave()
    assert (await scene.ended(client))["remote"] == "203.0.113.1"
    began = len(scene.server.lines)
    assert (await asked(scene, behind("203.0.113.2", POLLING)))[0] == 400
    line = await scene.server.logged(lambda line: line["event"] == "handshake.refused", since=began)
    assert (line["remote"], line["reason"], line["status"]) == ("203.0.113.2", "transport", 400)
    assert 'transports: ["websocket"]' in line["remedy"]
    await scene.clean()


@pytest.mark.parametrize("path", [PATH, POLLING, PATH + "&lang=ko"], ids=["plain", "refused", "parsed"])
async def test_the_rate_of_an_address(scene: Scene, path: str) -> None:
    """Over its burst an address gets 429 and the exact wait, after which it is let in; others do not notice."""
    address = f"203.0.113.{10 + len(path)}"
    right = 400 if path == POLLING else 101
    began, statuses, status, body = time.monotonic(), [], 0, b""
    for _ in range(BURST + 30):
        status, body = await asked(scene, behind(address, path))
        statuses.append(status)
    took = time.monotonic() - began
    assert statuses[:BURST] == [right] * BURST
    assert BURST <= statuses.count(right) <= BURST + 5 * took + 1
    assert status == 429
    error = json.loads(body)["error"]
    assert (error["code"], error["retryable"]) == ("rate_limited", True)
    assert 10 <= error["retry_after_ms"] <= 210
    assert (await asked(scene, behind("203.0.113.99", path)))[0] == right
    await asyncio.wait_for(_let_in(scene, behind(address, path), right, error["retry_after_ms"] / 1_000), 5.0)
    await scene.clean()


async def _let_in(scene: Scene, request: bytes, status: int, wait_s: float) -> None:
    loop = asyncio.get_running_loop()
    waited = loop.create_future()
    loop.call_later(wait_s, waited.set_result, None)
    await waited
    assert (await asked(scene, request))[0] == status


async def test_a_session_cookie_counts_too(scene: Scene) -> None:
    """`/session` takes from the same bucket, and a bad token ends the connection."""
    headers = {"Authorization": "Bearer bad", "Content-Length": "0", "Upgrade": "", "Connection": ""}
    request = behind("203.0.113.60", "/session", **headers).replace(b"GET ", b"POST ")
    answers = []
    for _ in range(BURST + 10):
        client = await scene.dial()
        client.push(request)
        answers.append((await client.response())[0])
        await client.eof(timeout=5.0)
    assert set(answers) == {401, 429}
    assert answers[0] == 401
    assert (await asked(scene, behind("203.0.113.60")))[0] in {101, 429}
    await scene.clean()


async def test_a_refusal_for_now_ends_the_connection(scene: Scene) -> None:
    """Also behind another request on the same connection, so that a proxy and its client come back anew."""
    polling = behind("203.0.113.70", POLLING, Upgrade="", Connection="keep-alive")
    for _ in range(BURST):
        await asked(scene, polling)
    client = await scene.dial()
    statuses = list[int]()
    while not statuses or statuses[-1] == 400:
        client.push(polling)
        statuses.append((await client.response())[0])
    assert statuses[-1] == 429
    await client.eof(timeout=5.0)
    await scene.clean()


async def test_the_connections_of_an_address(scene: Scene) -> None:
    """So many may be without a session, and so many be open; then 429. What is closed makes room."""
    mine = {"X-Forwarded-For": "2001:db8:0:7::1"}
    waiting = [await scene.open(headers=mine) for _ in range(4)]
    assert (await asked(scene, behind("2001:db8:0:7:ffff::2")))[0] == 429
    for client in waiting:
        await client.join_chat(token("mallory"))
    more = [await scene.open(headers=mine) for _ in range(4)]
    status, body = await asked(scene, behind("2001:db8:0:7::9"))
    assert (status, json.loads(body)["error"]["code"]) == (429, "rate_limited")
    assert (await asked(scene, behind("2001:db8:0:8::1")))[0] == 101
    for client in (*waiting, *more):
        client.vanish()
    await scene.clean()
    await (await scene.open(headers=mine)).leave()
    await scene.clean()


@pytest.mark.parametrize(
    ("sent", "most"),
    [(b"", 4), (b"GET /", 8), (b"POST /session HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", 8)],
    ids=["silent", "half a request", "a body that never comes"],
)
async def test_the_connections_that_ask_for_nothing(scene: Scene, sent: bytes, most: int) -> None:
    """Those of an address are bounded, too, before anything is known of them; a proxy's are not."""

    async def dialled(count: int) -> list[RawSocket]:
        clients = [await RawSocket.dial(scene.server.port, local_address="127.0.0.3") for _ in range(count)]
        for client in clients:
            client.push(sent)
        return clients

    waiting = [*await dialled(4), *await dialled(most - 4)]
    refused = await RawSocket.dial(scene.server.port, local_address="127.0.0.3")
    status, body = await refused.response()
    assert (status, json.loads(body)["error"]["code"]) == (429, "rate_limited")
    await refused.eof(timeout=5.0)
    proxied = [await scene.dial() for _ in range(12)]
    assert (await asked(scene, behind("203.0.113.120")))[0] == 101
    for client in (*waiting, *proxied):
        client.vanish()
    await scene.clean()
    again = await RawSocket.dial(scene.server.port, local_address="127.0.0.3")
    again.push(handshake())
    assert (await again.response())[0] in {101, 429}
    again.vanish()
    await scene.clean()


async def test_floods_of_two_addresses(scene: Scene, figure: Figure) -> None:
    """Beside two addresses that open connections as fast as they can, others connect and send; the log stays small."""
    began, lines = cpu_s([scene.server.pid]), len(scene.server.lines)
    floods = [
        Requests(scene.server.port, PATH, headers={"X-Forwarded-For": address})
        for address in ("198.51.100.1", "198.51.100.2")
    ]
    victim = Victim(scene.server)
    async with victim.watching():
        await asyncio.gather(*(flood.run(2, 2.0) for flood in floods))
    refused = sum(flood.answers.get(429, 0) for flood in floods)
    accepted = sum(flood.answers.get(101, 0) for flood in floods)
    written = [line for line in scene.server.lines[lines:] if line["event"].startswith("handshake.")]
    figure(
        f"worst send {victim.worst_send_s * 1e3:.0f} ms, worst connect {victim.worst_connect_s * 1e3:.0f} ms beside "
        f"{refused} refused and {accepted} accepted, {cpu_s([scene.server.pid]) - began:.1f} s of CPU"
    )
    assert set().union(*(flood.answers for flood in floods)) == {101, 429}
    assert accepted <= 2 * (BURST + 5 * 4)
    assert refused > 100
    assert victim.worst_send_s < WAIT_S
    assert victim.worst_connect_s < WAIT_S
    assert min(victim.sends, victim.connects) > 2
    assert len(written) < 15
    await scene.bystander.unharmed()


async def test_a_client_that_says_it_is_somebody_else(scene: Scene) -> None:
    """Only a trusted proxy is believed: 127.0.0.2 stays one client, whatever it says."""
    statuses = []
    for number in range(BURST + 10):
        client = await RawSocket.dial(scene.server.port, local_address="127.0.0.2")
        client.push(behind(f"192.0.2.{number}", POLLING))
        statuses.append((await client.response())[0])
        client.vanish()
    assert 429 in statuses
    assert statuses[0] == 400
    await scene.clean()

"""More handshakes than a server takes: those who hold its cookie still come in."""

import asyncio

import aiohttp
import pytest

from server.api.affinity import COOKIE
from server.api.affinity import PATH as SESSION
from tests.clients.raw import PATH, RawSocket
from tests.conftest import Figure
from tests.harness.attack import Requests
from tests.harness.tokens import token
from tests.harness.waiting import polled
from tests.integration.conftest import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVER_ENV = {"MARU_ADMISSION_RATE": "20", "MARU_ADMISSION_BURST": "100", "MARU_MESSAGE_LOG": "memory"}

COMES = 10
"""How often a client that is known comes back during the flood: as a few pages and devices do."""


async def test_a_flood_of_strangers(scene: Scene, figure: Figure) -> None:
    """Strangers find the bucket empty, whatever cookie they make up; a known client finds a place each time."""
    async with aiohttp.ClientSession() as http:
        headers = {"Authorization": f"Bearer {token('alice')}"}
        async with http.post(f"{scene.server.url}{SESSION}", headers=headers) as response:
            cookie = f"{COOKIE}={response.cookies[COOKIE].value}"
    flood = Requests(scene.server.port, PATH, headers={"Cookie": f"{COOKIE}={'x' * 44}"})
    running = asyncio.create_task(flood.run(2, 1.5))
    await polled(lambda: 503 in flood.answers, 10.0, lambda: "the bucket is empty")
    for _ in range(COMES):
        client = await RawSocket.open(scene.server.port, headers={"Cookie": cookie})
        await client.join_chat(token("alice"))
        client.vanish()
    assert not running.done()
    await running
    figure(f"{COMES} of {COMES} known clients beside {flood.answers[503]} refused and {flood.answers[101]} accepted")
    assert flood.answers[503] > flood.answers[101]
    await scene.bystander.unharmed()

"""A client that hangs up before or during its resume: the work ends with it."""

import asyncio
import threading
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.clients.raw import RawSocket, connect
from tests.harness.issuer import Issuer, document, jwk, sign
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHANNELS = 500

WAIT_S = 10.0


def positions(name: str) -> dict[str, dict[str, object]]:
    """Positions in many channels, which nobody else is in."""
    return {f"room:{name}-{number}": {"epoch": "0123456789abcdef", "offset": 1} for number in range(CHANNELS)}


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_client_that_is_gone_costs_nothing_more(server: ServerProcess, how: str) -> None:
    """A client that hangs up while its 500 channels are resumed costs the few channels that are being opened."""
    before = (await server.counts())["channels"]
    socket = await RawSocket.open(server.port)
    await socket.say(connect({"token": token(how), "resume": positions(how)}))
    # At once: on a busy machine this client's turn may come when all are resumed.
    if how == "fin":
        socket.finish()
    else:
        socket.reset()
    await server.settled(connections=0, sessions=0)
    assert (await server.counts())["channels"] - before < CHANNELS
    socket.vanish()


async def test_a_client_that_hangs_up_before_it_is_admitted(tmp_path: Path) -> None:
    """While the issuer's keys are fetched for its token: its resume ends as soon as it has begun."""
    old, new = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
    asked, released = threading.Event(), threading.Event()
    with Issuer(tmp_path) as issuer:
        issuer.keys = [jwk(old, "old")]
        env = {"MARU_JWT_SECRET": "", "MARU_JWT_JWKS_URL": issuer.url, "SSL_CERT_FILE": str(issuer.ca)}
        async with ServerProcess(tmp_path, env) as process:
            await process.logged(lambda line: line["event"] == "ready")

            async def answer(_: web.Request) -> web.StreamResponse:
                asked.set()
                await asyncio.to_thread(released.wait, WAIT_S)
                return web.Response(body=document(jwk(old, "old"), jwk(new, "new")))

            issuer.answer = answer
            socket = await RawSocket.open(process.port)
            await socket.say(connect({"token": sign(new, "new"), "resume": positions("early")}))
            assert await asyncio.to_thread(asked.wait, WAIT_S)
            socket.finish()
            released.set()
            line = await process.logged(lambda line: line["event"] == "connection.closed")
            assert line["session"] is not None
            assert (await process.counts())["channels"] < CHANNELS
            socket.vanish()

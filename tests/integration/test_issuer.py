"""A server whose keys come from a real HTTPS issuer with a CA of its own: rotation, floods, outages."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from server.adapters.tokens.issuer_keys import ASK_S
from tests.clients.raw import RawSocket
from tests.harness.issuer import Issuer, jwk, sign
from tests.harness.scrape import read, scraped
from tests.harness.server import ServerProcess
from tests.integration.conftest import blameless

A, B = ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65_537, 2_048)

FLOOD = 200
"""CONNECTs over sockets of their own. 10,000 of them, without sockets, are in the tests of the verifier."""

ANSWERED_S = 2.5
"""A CONNECT is answered within it, whatever the issuer does, with some room for a busy machine."""


@asynccontextmanager
async def served(folder: Path, issuer: Issuer) -> AsyncIterator[ServerProcess]:
    """A server that trusts the issuer, and the system's CAs no longer; it logs no error."""
    env = {"MARU_JWT_SECRET": "", "MARU_JWT_JWKS_URL": issuer.url, "SSL_CERT_FILE": str(issuer.ca)}
    async with ServerProcess(folder, env) as process:
        yield process
        assert await process.terminate() == 0
        blameless(process.lines, process.output)


async def ready(process: ServerProcess) -> tuple[int, bool]:
    """The status of `/readyz`, and whether it has keys."""
    async with ClientSession() as http, http.get(f"http://127.0.0.1:{process.internal_port}/readyz") as response:
        return response.status, (await response.json())["keys"]


async def connected(process: ServerProcess, token: str) -> str:
    """CONNECT; return `ok` or the code of the refusal."""
    client = await RawSocket.open(process.port)
    try:
        await client.say("40/chat," + json.dumps({"token": token}))
        answer = await client.text()
        return "ok" if answer.startswith("40") else str(json.loads(answer.partition(",")[2])["message"])
    finally:
        client.vanish()


async def timed(process: ServerProcess, token: str) -> str:
    """As `connected`, and soon."""
    began = time.monotonic()
    code = await connected(process, token)
    assert time.monotonic() - began < ANSWERED_S
    return code


async def test_from_the_start_to_a_rotation(tmp_path: Path) -> None:
    """Alive but not ready until the issuer is there; old and new keys are taken, a new key at its first token; a flood
    of invented names costs a single fetch at most; what was fetched is counted."""
    with Issuer(tmp_path) as issuer:
        issuer.keys = [jwk(A, "a")]
        issuer.down()
        async with served(tmp_path, issuer) as process:
            assert await ready(process) == (503, False)
            await process.lines_of("jwks.failed", 1)
            issuer.up()
            await process.logged(lambda line: line["event"] == "ready", timeout=30.0)
            assert await ready(process) == (200, True)
            assert await connected(process, sign(A, "a")) == "ok"
            began = len(issuer.requests)
            issuer.keys = [jwk(RSA, "r"), jwk(B, "b"), jwk(A, "a")]
            assert await connected(process, sign(B, "b")) == "ok"
            assert len(issuer.requests) == began + 1
            for token in (sign(A, "a"), sign(RSA, "r"), sign(B, "b", "bob")):
                assert await connected(process, token) == "ok"
            codes = await asyncio.gather(*[connected(process, sign(A, f"k{number}")) for number in range(FLOOD)])
            assert set(codes) <= {"unavailable", "unauthenticated"}
            assert len(issuer.requests) <= began + 2
            for token in (sign(A, None), sign(B, "a"), sign(RSA, "r", aud="another")):
                assert await connected(process, token) == "unauthenticated"
            samples = read(await scraped(process.internal_port))
            assert samples['maru_tokens_verified_total{key="jwks"}'] >= 5
            assert samples["maru_jwks_keys"] == 3
            assert samples["maru_jwks_age_seconds"] < 60
            assert samples['maru_jwks_fetches_total{outcome="unreachable"}'] >= 1


@pytest.mark.alone
async def test_an_issuer_that_hangs_and_goes_down(tmp_path: Path) -> None:
    """Known keys go on; a token of an unknown key is `unavailable` in time, and has the keys fetched once in 10 s,
    however many ask."""

    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(5.0)
        return web.Response(status=500)

    with Issuer(tmp_path) as issuer:
        issuer.keys = [jwk(A, "a")]
        async with served(tmp_path, issuer) as process:
            await process.logged(lambda line: line["event"] == "ready", timeout=30.0)
            issuer.answer = hang
            began, asked = time.monotonic(), len(issuer.requests)
            codes = await asyncio.gather(*[timed(process, sign(B, f"b{number}")) for number in range(10)])
            assert set(codes) == {"unavailable"}
            (failed,) = await process.lines_of("jwks.failed", 1)
            assert failed["outcome"] == "late"
            issuer.down()
            assert await timed(process, sign(A, "a")) == "ok"
            assert await timed(process, sign(B, "b")) == "unavailable"
            assert time.monotonic() - began < ASK_S, "the machine is too busy for this test"
            assert len(issuer.requests) == asked + 1
            assert len(await process.lines_of("jwks.failed", 1)) == 1

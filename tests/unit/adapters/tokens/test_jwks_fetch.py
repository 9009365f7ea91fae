"""Fetching an issuer's keys over real HTTP: bounds in time and size, and everything that an issuer may answer."""

import asyncio
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ed25519

from server.adapters.tokens import jwks, jwks_fetch
from server.adapters.tokens.jwks import JwksRefused
from server.adapters.tokens.jwks_fetch import MAX_BYTES, fetcher
from server.domain.outcomes import JwksFetch
from tests.harness.issuer import Issuer, jwk
from tests.harness.process import free_port

KEY = jwk(ed25519.Ed25519PrivateKey.generate(), "a")


async def refusal(url: str) -> JwksRefused:
    """Why an answer is refused."""
    with pytest.raises(JwksRefused) as refused:
        await fetcher(url, "test")()
    return refused.value


async def test_a_set_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how long it may be used; no proxy of the environment is asked."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "")
    with Issuer(tmp_path, tls=False) as issuer:
        issuer.keys = [KEY]
        for header, max_age_s in (
            ("", None),
            ("public, max-age=600, must-revalidate", 600),
            ("s-maxage=7", None),
            ("MAX-AGE=0", 0),
            ("max-age=-1", None),
        ):
            issuer.headers = {"cache-control": header}
            fetched = await fetcher(issuer.url, "test")()
            assert set(jwks.read(fetched.document).keys) == {"a"}
            assert fetched.max_age_s == max_age_s


async def test_an_unknown_ca_is_refused(tmp_path: Path) -> None:
    """The reason is told, and is short."""
    with Issuer(tmp_path) as issuer:
        refused = await refusal(issuer.url)
        assert refused.outcome is JwksFetch.UNREACHABLE
        assert "certificate" in str(refused)
        assert len(str(refused)) <= 200
        assert issuer.requests == []


async def test_nobody_there() -> None:
    """No connection, and no such name."""
    for host in (f"127.0.0.1:{free_port()}", "localhost:1"):
        assert (await refusal(f"http://{host}/keys")).outcome is JwksFetch.UNREACHABLE


async def test_an_issuer_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither at all, nor to the end: the time is for everything."""
    monkeypatch.setattr(jwks_fetch, "FETCH_S", 0.3)

    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60.0)
        raise AssertionError

    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(600):
            await response.write(b" ")
            await asyncio.sleep(0.1)
        return response

    with Issuer(tmp_path, tls=False) as issuer:
        for answer in (hang, trickle):
            issuer.answer = answer
            began = time.monotonic()
            assert (await refusal(issuer.url)).outcome is JwksFetch.LATE
            assert time.monotonic() - began < 5.0


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """To wherever: the other place is not asked."""
    with Issuer(tmp_path, tls=False) as issuer:

        async def redirect(_: web.Request) -> web.StreamResponse:
            raise web.HTTPFound(issuer.url)

        issuer.answer = redirect
        refused = await refusal(issuer.url)
        assert refused.outcome is JwksFetch.STATUS
        assert str(refused) == "HTTP status 302, a redirect; set the URL that it leads to"
        assert len(issuer.requests) == 1


async def test_answers_of_no_use(tmp_path: Path) -> None:
    """Another status, a megabyte, with or without its length, one byte too much, compressed, broken off."""

    async def large(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):  # the other side reads no more than it has to
            for _ in range(16):
                await response.write(b" " * 65_536)
        return response

    async def short(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": "100"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.close()
        return response

    with Issuer(tmp_path, tls=False) as issuer:
        for answer, outcome in ((large, JwksFetch.TOO_LARGE), (short, JwksFetch.UNREACHABLE)):
            issuer.answer = answer
            assert (await refusal(issuer.url)).outcome is outcome
        for plain, outcome in (
            (web.Response(status=503), JwksFetch.STATUS),
            (web.Response(status=204), JwksFetch.STATUS),
            (web.Response(body=b" " * (MAX_BYTES + 1)), JwksFetch.TOO_LARGE),
            (web.Response(body=b"x", headers={"content-encoding": "gzip"}), JwksFetch.MALFORMED),
        ):
            issuer.answer = partial(given, plain)
            assert (await refusal(issuer.url)).outcome is outcome
        issuer.answer = partial(given, web.Response(body=b" " * MAX_BYTES))
        assert len((await fetcher(issuer.url, "test")()).document) == MAX_BYTES


async def given(response: web.Response, _: web.Request) -> web.StreamResponse:
    """Answer with this."""
    return response

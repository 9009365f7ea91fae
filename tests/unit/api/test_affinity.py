"""`POST /session` over a real aiohttp server: who gets which cookie, who is refused, and which pages may ask."""

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientResponse, ClientSession, web

from server.api.affinity import COOKIE, MAX_AGE_S, MAX_BEARER_CHARS, Affinity
from server.domain.affinity import AffinityCookies, derive_key
from server.domain.errors import MaruError, TokenExpired, Unauthenticated, Unavailable
from server.domain.identity import CompiledGrants, Identity, UserId

COOKIES = AffinityCookies(derive_key(b"0123456789abcdef0123456789abcdef"))
LISTED = "https://chat.example.com"
away: list[bool] = []  # not empty: the cookies are out of reach
OTHER = "https://evil.example.com"
CANARY = "eyJhbGciOiJIUzI1NiJ9.canary.signature"

Refusals = Mapping[str, MaruError]


async def verify(token: str) -> Identity:
    """A token is its user's name; some are refused."""
    refusals: Refusals = {
        "expired": TokenExpired("the token has expired"),
        "unkeyed": Unavailable("the keys can't be had"),
        CANARY: Unauthenticated("the token's signature does not match"),
    }
    if token in refusals:
        raise refusals[token]
    return Identity(UserId(token), None, CompiledGrants({}), 0)


async def cookies() -> AffinityCookies:
    """The cookies of all replicas; for one test they are out of reach."""
    if away:
        raise Unavailable("the key can't be had")
    return COOKIES


def wait_s(request: web.Request) -> float:
    """A request says how long its client is to wait."""
    return float(request.headers.get("X-Wait", "0"))


class Site:
    """A server with one `Affinity`, and a client that keeps no cookies."""

    def __init__(self, url: str, client: ClientSession) -> None:
        self.url = f"{url}/session"
        self._client = client

    async def ask(
        self, token: str | None = "alice", *, method: str = "POST", query: str = "", **headers: str
    ) -> ClientResponse:
        """One request; header names are written with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token}")
        async with self._client.request(method, self.url + query, headers=sent) as response:
            await response.read()
            return response


@pytest_asyncio.fixture(params=[(LISTED,)])
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """Its pages are those of the listed origins."""
    app = web.Application()
    app.add_routes(Affinity(verify, cookies, request.param, wait_s).routes())
    runner = web.AppRunner(app, access_log=None, max_field_size=1 << 15)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    host, port = runner.addresses[0]
    async with ClientSession() as client:
        yield Site(f"http://{host}:{port}", client)
    await runner.cleanup()


anywhere: Callable[..., Any] = pytest.mark.parametrize("site", [("*",)], indirect=True)


async def error_of(response: ClientResponse) -> dict[str, Any]:
    """The envelope's content."""
    body = await response.json()
    assert body.keys() == {"error"}
    error: dict[str, Any] = body["error"]
    assert error.keys() == {"code", "message", "retryable"}
    return error


async def test_the_cookie(site: Site) -> None:
    """A bearer's answer is 204 with the cookie, for the whole site, out of reach of scripts, and not to be cached."""
    response = await site.ask("alice")
    assert response.status == 204
    assert response.headers["Cache-Control"] == "no-store"
    cookie = response.cookies[COOKIE]
    assert (cookie["path"], cookie["samesite"], cookie["max-age"]) == ("/", "Lax", str(MAX_AGE_S))
    assert cookie["httponly"]
    assert not cookie["secure"]
    assert not cookie["domain"]


async def test_the_value_is_the_users_alone(site: Site) -> None:
    """A user gets the same value every time, another user another one."""
    values = [(await site.ask(user)).cookies[COOKIE].value for user in ("alice", "bob", "alice")]
    assert values[0] == values[2] != values[1]
    assert COOKIES.is_ours(values[0], time.time())


@pytest.mark.parametrize(("proto", "secure"), [("https", True), ("HTTPS", True), ("http", False), ("", False)])
async def test_secure_over_https(site: Site, proto: str, secure: bool) -> None:
    """The cookie is `Secure` where the proxy says that the client came by https."""
    response = await site.ask("alice", X_Forwarded_Proto=proto)
    assert bool(response.cookies[COOKIE]["secure"]) is secure


async def test_any_case_of_bearer(site: Site) -> None:
    """The scheme's name has no case (RFC 9110, section 11.1)."""
    assert (await site.ask(None, Authorization="bearer  alice")).status == 204


REFUSED = {
    "no token": (None, {}, 401, "unauthenticated"),
    "another scheme": (None, {"Authorization": "Basic YTpi"}, 401, "unauthenticated"),
    "a bare token": (None, {"Authorization": "alice"}, 401, "unauthenticated"),
    "an empty token": (None, {"Authorization": "Bearer "}, 401, "unauthenticated"),
    "two tokens": (None, {"Authorization": "Bearer alice bob"}, 401, "unauthenticated"),
    "no characters of a token": (None, {"Authorization": "Bearer al\u00efce"}, 401, "unauthenticated"),
    "a bad token": (CANARY, {}, 401, "unauthenticated"),
    "an expired token": ("expired", {}, 401, "token_expired"),
    "a long token": ("x" * MAX_BEARER_CHARS, {}, 400, "bad_request"),
    "keys out of reach": ("unkeyed", {}, 503, "unavailable"),
    "another site's page": ("alice", {"Origin": OTHER}, 403, "permission_denied"),
    "a page without an origin": ("alice", {"Origin": "null"}, 403, "permission_denied"),
}


@pytest.mark.parametrize(("token", "headers", "status", "code"), REFUSED.values(), ids=REFUSED)
async def test_refusals(site: Site, token: str | None, headers: dict[str, str], status: int, code: str) -> None:
    """The stated status and code in the envelope, and no cookie; 401 asks for a bearer, 503 says when to come back."""
    response = await site.ask(token, **headers)
    error = await error_of(response)
    assert (response.status, error["code"], error["retryable"]) == (status, code, status == 503)
    assert "Set-Cookie" not in response.headers
    assert response.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)
    assert response.headers.get("Retry-After") == ("1" if status == 503 else None)
    assert response.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in response.headers


async def test_two_headers(site: Site) -> None:
    """Two Authorization headers are one too many: which of them a proxy believed can't be known."""
    two = [("Authorization", "Bearer alice"), ("Authorization", "Bearer bob")]
    async with ClientSession(headers=two) as client, client.post(site.url) as response:
        assert (response.status, (await error_of(response))["code"]) == (400, "bad_request")


@pytest.mark.parametrize("query", ["?token=" + CANARY, "?access_token=x", "?jwt", "?next=" + CANARY, "?a=1"])
async def test_token_in_query(site: Site, query: str) -> None:
    """The URL takes no arguments at all, so no token: it is refused even where a good one is in the header."""
    response = await site.ask("alice", query=query)
    assert (response.status, (await error_of(response))["code"]) == (400, "token_in_query")
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_other_methods(site: Site, method: str) -> None:
    """A cookie is not had by a link."""
    response = await site.ask("alice", method=method)
    assert response.status == 405
    assert "Set-Cookie" not in response.headers


async def test_a_listed_page(site: Site) -> None:
    """A listed origin may ask with credentials, and caches keep its answers apart."""
    asks = await site.ask(
        None,
        method="OPTIONS",
        Origin=LISTED,
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="authorization",
    )
    assert asks.status == 204
    assert asks.headers["Access-Control-Allow-Methods"] == "POST"
    assert asks.headers["Access-Control-Allow-Headers"] == "Authorization"
    assert asks.headers["Access-Control-Max-Age"] == "600"
    for response in (asks, await site.ask("alice", Origin=LISTED), await site.ask("expired", Origin=LISTED)):
        assert response.headers["Access-Control-Allow-Origin"] == LISTED
        assert response.headers["Access-Control-Allow-Credentials"] == "true"
        assert response.headers["Vary"] == "Origin"


@pytest.mark.parametrize("origin", [OTHER, "null", "https://chat.example.com.evil.example", LISTED.upper(), None])
async def test_a_page_that_is_not_listed(site: Site, origin: str | None) -> None:
    """Its preflight is refused, without a header that would let it on."""
    headers = {} if origin is None else {"Origin": origin}
    response = await site.ask(None, method="OPTIONS", Access_Control_Request_Method="POST", **headers)
    assert (response.status, (await error_of(response))["code"]) == (403, "permission_denied")
    assert [name for name in response.headers if name.lower().startswith("access-control")] == []


@anywhere
async def test_the_wildcard_gives_no_credentials(site: Site) -> None:
    """Where every page may connect, one of the same site gets the cookie; no other may ask with credentials."""
    response = await site.ask("alice", Origin=OTHER)
    assert response.status == 204
    preflight = await site.ask(None, method="OPTIONS", Origin=OTHER, Access_Control_Request_Method="POST")
    assert preflight.status == 403
    for answer in (response, preflight):
        assert [name for name in answer.headers if name.lower().startswith("access-control")] == []


async def test_nothing_is_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Neither an accepted nor a refused token is in a log line or in an answer."""
    with caplog.at_level(logging.DEBUG):
        refused = await site.ask(CANARY)
        await site.ask("canary-of-a-good-one")
        await site.ask("alice", query=f"?token={CANARY}")
    assert "canary" not in caplog.text
    assert "canary" not in await refused.text()


async def test_a_flood(site: Site) -> None:
    """Who asks too often is told when to come back, and the connection ends, as it does for whoever tries tokens."""
    for waits, header in ((0.25, "1"), (2.001, "3")):
        response = await site.ask("alice", X_Wait=str(waits))
        error = (await response.json())["error"]
        assert (response.status, error["code"], response.headers["Retry-After"]) == (429, "rate_limited", header)
        assert waits * 1_000 <= error["retry_after_ms"] <= waits * 1_000 + 10
        assert response.headers["Connection"] == "close"
    assert (await site.ask("expired")).headers["Connection"] == "close"
    assert "Connection" not in (await site.ask("alice")).headers


async def test_the_servers_own_page(site: Site) -> None:
    """The server's own origin need not be listed."""
    assert (await site.ask("alice", Origin=site.url.removesuffix("/session"))).status == 204


async def test_a_key_that_can_not_be_had(site: Site) -> None:
    """Without the key that the replicas share there is no cookie."""
    away.append(True)
    response = await site.ask("alice")
    away.clear()
    assert (response.status, (await error_of(response))["code"]) == (503, "unavailable")

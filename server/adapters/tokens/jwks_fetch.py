"""Fetch an issuer's JWK Set over HTTP."""

import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, hdrs

from server.adapters.tokens.jwks import JwksRefused
from server.domain.outcomes import JwksFetch

FETCH_S = 2.0
"""For all of a fetch: name, connection, TLS, answer."""

MAX_BYTES = 256 * 1024
"""Of an answer. 64 RSA keys with a chain of certificates each are some 200 KiB."""

MAX_HEADER_BYTES = 8_190
"""Of a line of the answer's head."""

MAX_PROBLEM_CHARS = 200
"""Of an error's text in the log."""

_OK = 200
_REDIRECTS = range(300, 400)
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age=\"?(\d{1,9})", re.ASCII | re.IGNORECASE)


class Fetched(NamedTuple):
    """An answer of the issuer."""

    document: bytes
    max_age_s: int | None  # how long it may be used, if the issuer says so


Fetch = Callable[[], Awaitable[Fetched]]
"""Ask the issuer. Raises `JwksRefused`."""


def fetcher(url: str, user_agent: str) -> Fetch:
    """Return how to ask this URL.

    No proxy of the environment is used, no redirect followed, no cookie kept. Each fetch has a connection of its own,
    since they are minutes apart. TLS trusts what Python trusts (`SSL_CERT_FILE`, `SSL_CERT_DIR`).
    """

    async def fetch() -> Fetched:
        try:
            async with (
                ClientSession(
                    cookie_jar=DummyCookieJar(),
                    timeout=ClientTimeout(total=FETCH_S),
                    headers={hdrs.USER_AGENT: user_agent, hdrs.ACCEPT_ENCODING: "identity"},
                    auto_decompress=False,
                    trust_env=False,
                    max_line_size=MAX_HEADER_BYTES,
                    max_field_size=MAX_HEADER_BYTES,
                ) as session,
                session.get(url, allow_redirects=False) as response,
            ):
                return await _read(response)
        except TimeoutError:
            raise JwksRefused(JwksFetch.LATE, f"no answer within {FETCH_S:g} s") from None
        except (ClientError, OSError, ValueError) as error:  # aiohttp raises ValueError for some that speak no HTTP
            problem = ascii(str(error) or type(error).__name__)[1:-1][:MAX_PROBLEM_CHARS]
            raise JwksRefused(JwksFetch.UNREACHABLE, problem) from None

    return fetch


async def _read(response: ClientResponse) -> Fetched:
    if response.status != _OK:
        redirected = response.status in _REDIRECTS
        advice = ", a redirect; set the URL that it leads to" if redirected else ""
        raise JwksRefused(JwksFetch.STATUS, f"HTTP status {response.status}{advice}")
    if response.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise JwksRefused(JwksFetch.MALFORMED, "the answer is compressed, which was not asked for")
    document = bytearray()
    async for piece in response.content.iter_any():
        document += piece
        if len(document) > MAX_BYTES:
            raise JwksRefused(JwksFetch.TOO_LARGE, f"the answer is larger than {MAX_BYTES} bytes")
    found = _MAX_AGE.search(response.headers.get(hdrs.CACHE_CONTROL, ""))
    return Fetched(bytes(document), int(found[1]) if found else None)

"""Requests to webhooks by aiohttp's client."""

import asyncio
import time
from datetime import UTC, datetime

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from server.adapters.webhooks.retry_after import retry_after_s
from server.domain.signing import signed
from server.domain.webhooks import Answer, Endpoint, Outcome, outcome_of
from server.ports.webhook_sender import TIMEOUT_S, WebhookSender

MAX_ANSWER_BYTES = 64 * 1024
"""Of an answer's body. Nothing of it is used: it is read so that the connection can be used again."""

BODY_S = 1.0
"""Time for an answer's body."""

MAX_HEADER_BYTES = 8_190
"""Of a line of the answer's head."""

IDLE_S = 30.0
"""A connection without a request is closed after so long."""


class HttpSender(WebhookSender):
    """Sends requests through one pool of connections, which begins with the first request. A dispatcher bounds how many
    there are."""

    def __init__(self, user_agent: str, timeout_s: float = TIMEOUT_S) -> None:
        self._user_agent = user_agent
        self._timeout_s = timeout_s
        self._session: ClientSession | None = None

    async def post(self, endpoint: Endpoint, id: str, body: bytes) -> Answer:
        headers = {"content-type": "application/json", **signed(endpoint.keys, id, int(time.time()), body)}
        if self._session is None:
            self._session = _session(self._user_agent, self._timeout_s)
        try:
            async with self._session.post(endpoint.url, data=body, headers=headers, allow_redirects=False) as response:
                status, wish = response.status, response.headers.get("retry-after")
                if not await _is_read(response):
                    response.close()
        except TimeoutError:
            return Answer(Outcome.TIMED_OUT)
        except (ClientError, OSError, ValueError):  # aiohttp raises a ValueError for some answers that are no HTTP
            return Answer(Outcome.UNREACHABLE)
        return Answer(outcome_of(status), status, retry_after_s(wish, datetime.now(UTC)))

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


def _session(user_agent: str, timeout_s: float) -> ClientSession:
    return ClientSession(
        connector=TCPConnector(limit=0, keepalive_timeout=IDLE_S),
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=timeout_s),
        headers={"user-agent": user_agent, "accept-encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
    )


async def _is_read(response: ClientResponse) -> bool:
    """Read the answer's body up to its bounds; return whether that was all. The status counts, whatever the body is."""
    read = 0
    try:
        async with asyncio.timeout(BODY_S):
            async for piece in response.content.iter_any():
                read += len(piece)
                if read > MAX_ANSWER_BYTES:
                    return False
    except (TimeoutError, ClientError, OSError, ValueError):
        return False
    return True

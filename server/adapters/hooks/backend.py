"""Questions to a backend by aiohttp's client."""

import asyncio
import errno
import os
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)

from server.domain.hooks import MAX_ANSWER_BYTES, AskOutcome, NoVerdict, Question, Verdict
from server.domain.signing import SigningKey, signed
from server.ports.hooks import ASK_S, Hooks
from server.wire import hooks as wire

OK = 200
"""The only status of a verdict."""

MAX_HEADER_BYTES = 8_190
"""Of a line of the answer's head."""

IDLE_S = 4.0
"""A connection without a request is closed after so long: before the backend closes it. Node's servers do after 5 s."""

AGAIN_S = 0.05
"""Pause before a refused connection is tried again: by then another process of the backend may listen."""


class HttpHooks(Hooks):
    """Asks over one pool of connections. `keys`: the present, and perhaps the previous."""

    def __init__(self, session: ClientSession, url: str, keys: Sequence[SigningKey]) -> None:
        self._session = session
        self._url = url
        self._keys = tuple(keys)

    async def ask(self, question: Question) -> Verdict:
        body = wire.question(question)
        id = f"hook_{uuid.uuid4().hex}"
        try:
            async with asyncio.timeout(ASK_S):
                return wire.verdict(await self._answer(id, body), of_event=question.name is not None)
        except TimeoutError:
            raise NoVerdict(AskOutcome.TIMED_OUT, f"no answer within {ASK_S:g} s") from None
        except ClientConnectorError as error:
            number = error.os_error.errno
            why = type(error).__name__ if number is None else os.strerror(number)  # a name that is unknown has none
            raise NoVerdict(AskOutcome.UNREACHABLE, f"no connection ({why})") from None
        except (ClientError, OSError, ValueError) as error:  # aiohttp raises a ValueError for answers that are no HTTP
            raise NoVerdict(AskOutcome.UNREACHABLE, f"no HTTP answer ({type(error).__name__})") from None

    async def _answer(self, id: str, body: bytes) -> bytes:
        """Post a question; once more if the connection was refused. Return the answer's body."""
        try:
            return await self._post(id, body)
        except ClientConnectorError as error:
            if error.os_error.errno != errno.ECONNREFUSED:
                raise
        await asyncio.sleep(AGAIN_S)
        return await self._post(id, body)

    async def _post(self, id: str, body: bytes) -> bytes:
        headers = {"content-type": "application/json", **signed(self._keys, id, int(time.time()), body)}
        async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
            if response.status != OK:
                response.close()
                raise NoVerdict(AskOutcome.BAD_STATUS, f"status {response.status}, expected {OK}")
            return await _body(response)


async def _body(response: ClientResponse) -> bytes:
    """Read the body of an answer. Raises `NoVerdict` if it is too long."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            response.close()
            raise NoVerdict(AskOutcome.BAD_ANSWER, f"more than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


@asynccontextmanager
async def http_hooks(url: str, keys: Sequence[SigningKey], user_agent: str) -> AsyncIterator[HttpHooks]:
    """Open a pool of connections to the backend, and close it."""
    async with ClientSession(
        connector=TCPConnector(limit=0, keepalive_timeout=IDLE_S),  # the use case bounds the questions under way
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=None),  # `ask` has the only bound
        headers={"user-agent": user_agent, "accept-encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
    ) as session:
        yield HttpHooks(session, url, keys)

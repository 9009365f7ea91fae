"""The bot's token: fetched from the application, and kept for the next connection while it is valid."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

from maru_bot.errors import MaruError, transient

GetToken = Callable[[], str | Awaitable[str]]
"""Gives a token that is valid now. An error that it raises is retried, unless it is a final `MaruError`."""

TOKEN_REFUSED = frozenset({"unauthenticated", "token_expired"})
"""Codes of a refused token: another token may be accepted."""

REFUSALS = 3
"""New tokens in a row that have expired on arrival: a clock is wrong."""


TOKEN_CHARS = 16_384
"""The server takes no longer token."""


class TokenSource:
    """Caches the token of `get_token`, which has `timeout` seconds to give one."""

    def __init__(self, get_token: GetToken | str, timeout: float) -> None:
        self._get_token = get_token
        self._timeout = timeout
        self._token: str | None = None
        self._expires_at = float("inf")
        self._fresh = False  # the token taken last was new
        self._refusals = 0  # of fresh tokens, in a row

    async def take(self) -> str:
        """Return the token for a connection. Raises as `fetch`."""
        self._fresh = self._token is None or time.time() >= self._expires_at
        if self._token is None or self._fresh:
            self._token, self._expires_at = await self.fetch(), float("inf")
        return self._token

    async def fetch(self) -> str:
        """Return a new token, which is not kept. Raises `token_unavailable`, or a `MaruError` of `get_token`."""
        if isinstance(self._get_token, str):
            return _checked(self._get_token)
        try:
            async with asyncio.timeout(self._timeout):
                got = self._get_token()
                return _checked(await got if inspect.isawaitable(got) else got)
        except MaruError:
            raise
        except Exception as cause:  # the application's code can raise anything; there is no token now
            raise transient("token_unavailable", f"get_token failed ({type(cause).__name__})") from cause

    def accepted(self, token: str, expires_at: str) -> None:
        """Keep a token that the server has accepted, for the next connection too."""
        self._token, self._expires_at = token, datetime.fromisoformat(expires_at).timestamp()
        self._refusals = 0

    def refused(self, code: str) -> bool:
        """Drop the token that the server has refused. Return whether to try with a new token."""
        # A kept token may be too old, or signed before a change of keys.
        self._token = None
        if not self._fresh:
            return True
        self._refusals += 1
        return code == "token_expired" and self._refusals < REFUSALS


def _checked(token: object) -> str:
    """Return the token, if the server can read it: it closes the connection for some other values."""
    if isinstance(token, str) and len(token) <= TOKEN_CHARS and token.isascii():
        return token
    raise MaruError("token_unavailable", f"the token is no ASCII text of at most {TOKEN_CHARS} characters")

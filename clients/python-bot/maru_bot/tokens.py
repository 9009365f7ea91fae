"""The bot's token: fetched from the application, kept while it is good, fetched anew when it is not."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

from maru_bot.errors import MaruError, transient

GetToken = Callable[[], str | Awaitable[str]]
"""Gives a token that is valid now. An error that it raises is retried, but a `MaruError` that is not retryable."""

TOKEN_REFUSED = frozenset({"unauthenticated", "token_expired"})
"""Codes after which another token deserves a try."""

REFUSALS = 3
"""Tokens in a row that expire before they are used: somebody's clock is wrong."""


class TokenSource:
    """Caches what `get_token` gives; waits at most `timeout` seconds for it."""

    def __init__(self, get_token: GetToken | str, timeout: float) -> None:
        self._get_token = get_token
        self._timeout = timeout
        self._token: str | None = None
        self._expires_at = float("inf")
        self._fresh = False
        self._refusals = 0

    async def take(self) -> str:
        """The token for a connection. Raises `token_unavailable`, or what `get_token` says is final."""
        self._fresh = self._token is None or time.time() >= self._expires_at
        if self._token is None or self._fresh:
            self._token, self._expires_at = await self.fetch(), float("inf")
        return self._token

    async def fetch(self) -> str:
        """A new token, not kept before it is `accepted`."""
        if isinstance(self._get_token, str):
            return self._get_token
        try:
            async with asyncio.timeout(self._timeout):
                got = self._get_token()
                return await got if inspect.isawaitable(got) else got
        except MaruError:
            raise
        except Exception as cause:  # the application's code: whatever it raises, there is no token now
            raise transient("token_unavailable", f"get_token failed ({type(cause).__name__})") from cause

    def accepted(self, token: str, expires_at: str) -> None:
        """The server took it: good for the next connection too."""
        self._token, self._expires_at = token, datetime.fromisoformat(expires_at).timestamp()
        self._refusals = 0

    def refused(self, code: str) -> bool:
        """The server did not take it, or takes it no longer. Return whether to try with another one."""
        # One from the cache may be too old, or of before a change of keys; a fresh one that is no good stays so.
        self._token = None
        if not self._fresh:
            return True
        self._refusals += 1
        return code == "token_expired" and self._refusals < REFUSALS

"""Sessions: admission by token, renewal, and the end at the token's expiry."""

import asyncio
import heapq
from collections.abc import Callable

from server.application.deadline import deadline
from server.domain.errors import TokenExpired, Unauthenticated
from server.domain.identity import Identity, SessionId
from server.ports.token_verifier import TokenVerifier
from server.ports.transport import SessionExpiring, SessionReady, Transport

EXPIRY_NOTICE_MS = 60_000
"""`session:expiring` comes this long before the token's `exp`."""

SWEEP_S = 0.25
"""How often expiries are looked at: one heap for all sessions, no timer each."""


class Sessions:
    """The admitted sessions of this replica.

    `now_ms` is wall-clock time in milliseconds, since `exp` is; `grace_ms` is how long a session outlives its `exp`,
    for clocks that differ and refreshes that are under way.
    """

    def __init__(self, verifier: TokenVerifier, transport: Transport, now_ms: Callable[[], int], grace_ms: int) -> None:
        self._verifier = verifier
        self._transport = transport
        self._now_ms = now_ms
        self._grace_ms = grace_ms
        self._identities: dict[SessionId, Identity] = {}
        self._due: list[tuple[int, SessionId, int]] = []

    def __len__(self) -> int:
        """How many sessions are open."""
        return len(self._identities)

    async def admit(self, token: str) -> Identity:
        """Verify a token before anything else happens for its bearer. Raises `Unauthenticated`, `Unavailable`."""
        async with deadline():
            return await self._verifier.verify(token)

    def open(self, session: SessionId, identity: Identity) -> None:
        """Register an admitted session."""
        self._identities[session] = identity
        self._schedule(session, identity)

    def ready(self, session: SessionId) -> None:
        """Tell the session that it is complete; one that has ended meanwhile is told nothing."""
        identity = self._identities.get(session)
        if identity is not None:
            self._transport.push(session, SessionReady(session, identity.user, identity.expires_at))

    def identity(self, session: SessionId) -> Identity:
        """Who the session speaks for. Raises `Unauthenticated` where it has ended."""
        try:
            return self._identities[session]
        except KeyError:
            raise Unauthenticated("the session has ended; connect again") from None

    async def refresh(self, session: SessionId, token: str) -> Identity:
        """Take a new token for a session. Raises `Unauthenticated`, also where the token is another user's."""
        identity = self.identity(session)
        renewed = await self.admit(token)
        if renewed.user != identity.user:
            raise Unauthenticated("the token belongs to another user than the session")
        if session in self._identities:
            self._identities[session] = renewed
            if renewed.expires_at != identity.expires_at:  # else its entry in the heap still holds
                self._schedule(session, renewed)
        return renewed

    def close(self, session: SessionId) -> None:
        """Forget a session; its place in the heap empties by itself."""
        self._identities.pop(session, None)

    async def run(self) -> None:
        """Look at expiries until cancelled."""
        while True:
            self.expire()
            await asyncio.sleep(SWEEP_S)

    def expire(self) -> None:
        """Tell those whose token expires soon; end those whose token has expired."""
        now = self._now_ms()
        while self._due and self._due[0][0] <= now:
            due, session, expires_at = heapq.heappop(self._due)
            identity = self._identities.get(session)
            if identity is None or identity.expires_at != expires_at:
                continue  # gone, or refreshed: that has an entry of its own
            if due < expires_at:
                self._transport.push(session, SessionExpiring(expires_at))
                heapq.heappush(self._due, (expires_at + self._grace_ms, session, expires_at))
            else:
                self.close(session)
                self._transport.terminate(session, TokenExpired("the session's token has expired"))

    def _schedule(self, session: SessionId, identity: Identity) -> None:
        notice = identity.expires_at - EXPIRY_NOTICE_MS
        heapq.heappush(self._due, (notice, session, identity.expires_at))

"""Sessions: admission by token, renewal, and the end at the token's expiry."""

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass

from server.application.deadline import deadline
from server.domain.errors import TokenExpired, Unauthenticated
from server.domain.identity import Identity, SessionId
from server.domain.pushes import SessionExpiring, SessionReady
from server.ports.token_verifier import TokenVerifier
from server.ports.transport import Transport

EXPIRY_NOTICE_MS = 60_000
"""`session:expiring` comes this long before the token's `exp`."""

SWEEP_S = 0.25
"""How often expiries are looked at: one heap for all sessions, no timer each."""

STALE_ENTRIES = 64
"""The heap may have two entries a session and so many more; beyond that, those that are out of date are cleared out."""


@dataclass(slots=True)
class _Admission:
    """An open session: whose, and of which `exp` it has been warned."""

    identity: Identity
    warned_of: int | None = None


def session_ended() -> Unauthenticated:
    """The refusal of a command whose session has ended while it waited."""
    return Unauthenticated("the session has ended; connect again")


class Sessions:
    """The admitted sessions of this replica.

    `end_memberships` takes a session out of its channels, before its client is told that it ends. `now_ms` is
    wall-clock time in milliseconds, since `exp` is; `grace_ms` is how long a session outlives its `exp`, for clocks
    that differ and refreshes that are under way.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        transport: Transport,
        end_memberships: Callable[[SessionId], None],
        now_ms: Callable[[], int],
        grace_ms: int,
    ) -> None:
        self._verifier = verifier
        self._transport = transport
        self._end_memberships = end_memberships
        self._now_ms = now_ms
        self._grace_ms = grace_ms
        self._admissions: dict[SessionId, _Admission] = {}
        self._due: list[tuple[int, SessionId]] = []

    def __len__(self) -> int:
        """How many sessions are open."""
        return len(self._admissions)

    async def admit(self, token: str) -> Identity:
        """Verify a token before anything else happens for its bearer. Raises `Unauthenticated`, `Unavailable`."""
        async with deadline():
            return await self._verifier.verify(token)

    def open(self, session: SessionId, identity: Identity) -> None:
        """Register an admitted session."""
        admission = self._admissions[session] = _Admission(identity)
        self._schedule(session, admission)

    def ready(self, session: SessionId) -> None:
        """Tell the session that it is complete; one that has ended meanwhile is told nothing."""
        admission = self._admissions.get(session)
        if admission is not None:
            identity = admission.identity
            self._transport.push(session, SessionReady(session, identity.user, identity.expires_at))

    def find(self, session: SessionId) -> Identity | None:
        """Return the identity of an open session; None if the session has ended."""
        admission = self._admissions.get(session)
        return None if admission is None else admission.identity

    async def refresh(self, session: SessionId, token: str) -> Identity:
        """Take a new token for a session. Raises `Unauthenticated`, also where the token is another user's."""
        admission = self._admissions.get(session)
        if admission is None:
            raise session_ended()
        renewed = await self.admit(token)
        if renewed.user != admission.identity.user:
            raise Unauthenticated("the token belongs to another user than the session")
        if session in self._admissions:  # it may have ended while the token was verified
            admission.identity = renewed
            self._schedule(session, admission)
        return renewed

    def close(self, session: SessionId) -> None:
        """Forget a session; its place in the heap is cleared out in time."""
        self._admissions.pop(session, None)

    async def run(self) -> None:
        """Look at expiries until cancelled."""
        while True:
            self.expire()
            await asyncio.sleep(SWEEP_S)

    def expire(self) -> None:
        """Tell those whose token expires soon; end those whose token has expired."""
        now = self._now_ms()
        while self._due and self._due[0][0] <= now:
            _, session = heapq.heappop(self._due)
            admission = self._admissions.get(session)
            if admission is not None:
                self._judge(session, admission, now)

    def _judge(self, session: SessionId, admission: _Admission, now: int) -> None:
        """Do what is due; where nothing is, since the session was refreshed, look at it again later."""
        expires_at = admission.identity.expires_at
        if self._moment(admission) <= now:
            if admission.warned_of == expires_at:
                self.close(session)
                self._end_memberships(session)
                self._transport.terminate(session, TokenExpired("the session's token has expired"))
                return
            admission.warned_of = expires_at
            self._transport.push(session, SessionExpiring(expires_at))
        self._schedule(session, admission)

    def _moment(self, admission: _Admission) -> int:
        """When something is to happen to the session next: its notice, or its end."""
        expires_at = admission.identity.expires_at
        warned = admission.warned_of == expires_at
        return expires_at + self._grace_ms if warned else expires_at - EXPIRY_NOTICE_MS

    def _schedule(self, session: SessionId, admission: _Admission) -> None:
        heapq.heappush(self._due, (self._moment(admission), session))
        if len(self._due) > 2 * len(self._admissions) + STALE_ENTRIES:
            # Clients that come and go, or refresh, with a token of a day would else stand here for that day each time.
            self._due = [(self._moment(other), name) for name, other in self._admissions.items()]
            heapq.heapify(self._due)

"""Sessions: admission by token, renewal, and the end at the token's expiry."""

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass

from server.application.deadline import deadline
from server.application.limits.error_budget import ErrorBudget
from server.application.limits.limiter import Allowance, Limiter
from server.domain.errors import MaruError, TokenExpired, Unauthenticated
from server.domain.identity import Identity, SessionId
from server.domain.pushes import SessionExpiring, SessionReady
from server.ports.token_verifier import TokenVerifier
from server.ports.transport import Transport

EXPIRY_NOTICE_MS = 60_000
"""`session:expiring` comes this long before the token's `exp`."""

SWEEP_S = 0.25
"""How often expiries are looked at: sessions share a heap, and have no timer each."""

STALE_ENTRIES = 64
"""The heap may have two entries a session and so many more; beyond that, those that are out of date are cleared out."""


@dataclass(slots=True, eq=False)
class Session:
    """An admitted client, from its CONNECT to its end."""

    id: SessionId
    identity: Identity  # of its latest token
    allowance: Allowance | None = None  # what it may do; None: anything
    refusals: ErrorBudget | None = None  # None until the first
    ended: bool = False
    warned_of: int | None = None  # the `exp` that the client has been warned of

    def follow(self, former: "Session") -> None:
        """Go on with the rates and the refusals of a session that the client has left on the same connection."""
        if self.allowance is not None and former.allowance is not None:
            self.allowance.follow(former.allowance)
            self.refusals = former.refusals


def session_ended() -> Unauthenticated:
    """The refusal of a command whose session has ended while it waited."""
    return Unauthenticated("the session has ended; connect again")


class Sessions:
    """The admitted sessions of this replica.

    `end_memberships` takes a session out of its channels, before its client is told that it ends. `now_ms` is
    wall-clock time in milliseconds, since `exp` is; `grace_ms` is how long a session outlives its `exp`, for clocks
    that differ and refreshes that are under way. `limiter` says what a session may do; None: anything.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        transport: Transport,
        end_memberships: Callable[[SessionId], None],
        now_ms: Callable[[], int],
        grace_ms: int,
        limiter: Limiter | None = None,
    ) -> None:
        self._verifier = verifier
        self._transport = transport
        self._end_memberships = end_memberships
        self._now_ms = now_ms
        self._grace_ms = grace_ms
        self._limiter = limiter
        self._open: dict[SessionId, Session] = {}
        self._due: list[tuple[int, SessionId]] = []  # a heap: when to look at each session

    def __len__(self) -> int:
        """How many sessions are open."""
        return len(self._open)

    async def admit(self, token: str) -> Identity:
        """Verify a token before anything else happens for its bearer. Raises `Unauthenticated`, `Unavailable`."""
        identity = self.admit_at_once(token)
        if identity is not None:
            return identity
        async with deadline():
            return await self._verifier.verify(token)

    def admit_at_once(self, token: str) -> Identity | None:
        """As `admit`, without waiting; None if something has to be waited for. Raises `Unauthenticated`."""
        return self._verifier.verify_at_once(token)

    def open(self, id: SessionId, identity: Identity) -> Session:
        """Begin the session of an admitted client."""
        allowance = None if self._limiter is None else self._limiter.allowance(identity)
        session = self._open[id] = Session(id, identity, allowance)
        self._schedule(session)
        return session

    def ready(self, session: Session) -> None:
        """Tell the session that it is complete; a session that has ended in the meantime is told nothing."""
        if not session.ended:
            identity = session.identity
            self._transport.push(session.id, SessionReady(session.id, identity.user, identity.expires_at))

    async def refresh(self, session: Session, token: str) -> None:
        """Take a new token for a session. Raises `Unauthenticated`, also if the token is another user's."""
        if session.ended:
            raise session_ended()
        identity = await self.admit(token)
        if identity.user != session.identity.user:
            raise Unauthenticated("the token belongs to another user than the session")
        session.identity = identity
        if self._limiter is not None and session.allowance is not None:
            session.allowance.plans = self._limiter.plans(identity)
        if not session.ended:  # it may have ended while the token was verified
            self._schedule(session)

    def close(self, session: Session) -> None:
        """End a session; its place in the heap is cleared out in time."""
        session.ended = True
        self._open.pop(session.id, None)

    def terminate(self, session: Session, error: MaruError) -> None:
        """End a session for a reason, which its client is told. Ending it again does nothing."""
        if not session.ended:
            self.close(session)
            self._end_memberships(session.id)
            self._transport.terminate(session.id, error)

    async def run(self) -> None:
        """Look at expiries until cancelled."""
        while True:
            self.expire()
            await asyncio.sleep(SWEEP_S)

    def expire(self) -> None:
        """Warn the sessions whose token expires soon; end those whose token has expired."""
        now = self._now_ms()
        while self._due and self._due[0][0] <= now:
            _, id = heapq.heappop(self._due)
            session = self._open.get(id)
            if session is not None:
                self._judge(session, now)

    def _judge(self, session: Session, now: int) -> None:
        """Do what is due; if nothing is, since the session was refreshed, look at it again later."""
        expires_at = session.identity.expires_at
        if self._moment(session) <= now:
            if session.warned_of == expires_at:
                self.terminate(session, TokenExpired("the session's token has expired"))
                return
            session.warned_of = expires_at
            self._transport.push(session.id, SessionExpiring(expires_at))
        self._schedule(session)

    def _moment(self, session: Session) -> int:
        """When something is to happen to the session next: its notice, or its end."""
        expires_at = session.identity.expires_at
        warned = session.warned_of == expires_at
        return expires_at + self._grace_ms if warned else expires_at - EXPIRY_NOTICE_MS

    def _schedule(self, session: Session) -> None:
        heapq.heappush(self._due, (self._moment(session), session.id))
        if len(self._due) > 2 * len(self._open) + STALE_ENTRIES:
            # Clients that come and go, or refresh, with a token of a day would leave an entry for that day each time.
            self._due = [(self._moment(other), other.id) for other in self._open.values()]
            heapq.heapify(self._due)

"""Sessions: admission by token, renewal, and the end: at the token's expiry, or earlier if somebody says so."""

import asyncio
import heapq
from collections.abc import Callable, Collection, Iterable

from server.application.deadline import deadline
from server.application.limits.limiter import Limiter
from server.application.outside.revoked_tokens import MS_PER_S, RevokedTokens
from server.application.sessions.index import Index
from server.application.sessions.session import Session, session_ended
from server.application.turn import in_turns
from server.domain.control import RefreshAsked
from server.domain.errors import MaruError, TokenExpired, Unauthenticated
from server.domain.identity import Identity, SessionId, UserId
from server.domain.pushes import SessionExpiring, SessionReady
from server.ports.metrics import SILENT, SessionMetrics
from server.ports.token_verifier import TokenVerifier
from server.ports.transport import Transport

EXPIRY_NOTICE_MS = 60_000
"""`session:expiring` comes this long before the token's `exp`."""

SWEEP_S = 0.25
"""How often expiries are looked at: sessions share a heap, and have no timer each."""

STALE_ENTRIES = 64
"""The heap may have two entries a session and so many more; beyond that, those that are out of date are cleared out."""


class Sessions:
    """The admitted sessions of this replica.

    `end_memberships` takes a session out of its channels, before its client is told that it ends. `now_ms` is
    wall-clock time in milliseconds, since `exp` is; `grace_ms` is how long a session outlives its `exp`, for clocks
    that differ and refreshes that are under way. `limiter` says what a session may do; None: anything. `revoked` are
    the tokens that are good no longer; None: all are good until they expire.
    """

    def __init__(  # noqa: PLR0913  # all that a session depends on
        self,
        verifier: TokenVerifier,
        transport: Transport,
        end_memberships: Callable[[SessionId], None],
        now_ms: Callable[[], int],
        grace_ms: int,
        limiter: Limiter | None = None,
        *,
        revoked: RevokedTokens | None = None,
        metrics: SessionMetrics = SILENT,
    ) -> None:
        self._verifier = verifier
        self._transport = transport
        self._end_memberships = end_memberships
        self._now_ms = now_ms
        self._grace_ms = grace_ms
        self._limiter = limiter
        self._revoked = revoked
        self._metrics = metrics
        self.changed: Callable[[UserId], None] = lambda _: None  # told of users of whom a session began or ended
        self._open: dict[SessionId, Session] = {}
        self._by_user: Index[UserId] = Index()
        self._by_token: Index[str] = Index()  # those whose token has a `jti`
        self._due: list[tuple[int, SessionId]] = []  # a heap: when to look at each session

    def __len__(self) -> int:
        """How many sessions are open."""
        return len(self._open)

    def of(self, user: UserId) -> Collection[Session]:
        """Return the open sessions of a user."""
        return self._by_user.find(user)

    def find(self, id: SessionId) -> Session | None:
        """Return an open session."""
        return self._open.get(id)

    def by_token(self, token_id: str) -> Collection[Session]:
        """Return the open sessions whose latest token has this `jti`."""
        return self._by_token.find(token_id)

    async def admit(self, token: str) -> Identity:
        """Verify a token before anything else happens for its bearer. Raises `Unauthenticated`, `Unavailable`.

        The token is not revoked as this returns: nothing may be awaited until its session is open.
        """
        identity = self.admit_at_once(token)
        if identity is not None:
            return identity
        async with deadline():
            if self._revoked is not None:
                await self._revoked.loaded.wait()
            identity = await self._verifier.verify(token)
        self._check_revoked(identity)
        return identity

    def admit_at_once(self, token: str) -> Identity | None:
        """As `admit`, without waiting; None if something has to be waited for. Raises `Unauthenticated`."""
        identity = self._verifier.verify_at_once(token)
        if identity is None or (self._revoked is not None and not self._revoked.loaded.is_set()):
            return None
        self._check_revoked(identity)
        return identity

    def _check_revoked(self, identity: Identity) -> None:
        if self._revoked is not None:
            self._revoked.check(identity)

    def open(self, id: SessionId, identity: Identity) -> Session:
        """Begin the session of an admitted client."""
        allowance = None if self._limiter is None else self._limiter.allowance(identity)
        session = self._open[id] = Session(id, identity, allowance)
        self._by_user.add(identity.user, session)
        if identity.token_id is not None:
            self._by_token.add(identity.token_id, session)
        self._schedule(session)
        self.changed(identity.user)
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
        former, session.identity = session.identity, identity
        if self._limiter is not None and session.allowance is not None:
            session.allowance.plans = self._limiter.plans(identity)
        if not session.ended:  # it may have ended while the token was verified
            self._find_by(former.token_id, identity.token_id, session)
            if session.asked is not None and _renews(session.asked, former, identity):
                session.asked = None
            self._schedule(session)

    def _find_by(self, former: str | None, token_id: str | None, session: Session) -> None:
        """Find a session by the id of its new token."""
        if former is not None:
            self._by_token.discard(former, session)
        if token_id is not None:
            self._by_token.add(token_id, session)

    def ask(self, session: Session, asked: RefreshAsked) -> None:
        """Tell a session to refresh its token. It ends at the time that the order says, unless it does. If the order
        comes too late for that, a token that was issued since is good enough."""
        late = asked.ends_at <= self._now_ms()
        if not session.ended and not (late and (session.identity.issued_at or 0) > asked.asked_at // MS_PER_S):
            session.asked = asked
            ends_at = min(asked.ends_at, session.identity.expires_at)
            self._transport.push(session.id, SessionExpiring(ends_at, reason="refresh"))
            self._schedule(session)

    def close(self, session: Session) -> None:
        """End a session; its place in the heap is cleared out in time."""
        session.ended = True
        if self._open.pop(session.id, None) is not None:
            identity = session.identity
            self._by_user.discard(identity.user, session)
            if identity.token_id is not None:
                self._by_token.discard(identity.token_id, session)
            self.changed(identity.user)

    def terminate(self, session: Session, error: MaruError) -> None:
        """End a session for a reason, which its client is told. Ending it again does nothing."""
        if not session.ended:
            self.close(session)
            self._end_memberships(session.id)
            self._transport.terminate(session.id, error)
            self._metrics.session_ended(error.code)

    async def end_all(self, sessions: Iterable[Session], error: MaruError) -> int:
        """Terminate sessions, in turns with other work; return how many were open."""
        count = 0
        async for session in in_turns(sessions):
            count += not session.ended
            self.terminate(session, error)
        return count

    async def end_where(self, concerned: Callable[[Identity], bool], error: MaruError) -> int:
        """Terminate the sessions whose latest token is concerned, in turns with other work; return how many those are.
        A session that opens meanwhile is not looked at."""
        count = 0
        async for session in in_turns(tuple(self._open.values())):
            if not session.ended and concerned(session.identity):
                self.terminate(session, error)
                count += 1
        return count

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
        if session.asked is not None and session.asked.ends_at <= now:
            self.terminate(session, TokenExpired("the session was told to refresh its token, and did not in time"))
            return
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
        moment = expires_at + self._grace_ms if warned else expires_at - EXPIRY_NOTICE_MS
        return moment if session.asked is None else min(moment, session.asked.ends_at)

    def _schedule(self, session: Session) -> None:
        heapq.heappush(self._due, (self._moment(session), session.id))
        if len(self._due) > 2 * len(self._open) + STALE_ENTRIES:
            # Clients that come and go, or refresh, with a token of a day would leave an entry for that day each time.
            self._due = [(self._moment(other), other.id) for other in self._open.values()]
            heapq.heapify(self._due)


def _renews(asked: RefreshAsked, former: Identity, identity: Identity) -> bool:
    """Say whether a token fulfils an order to refresh: issued since, or at least later than the former token, since
    the issuer's clock may be behind."""
    if identity.issued_at is None:
        return False
    return identity.issued_at >= asked.asked_at // MS_PER_S or identity.issued_at > (former.issued_at or 0)

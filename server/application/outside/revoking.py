"""Revoking tokens on behalf of backends: into the store, then into the list of orders, then the answer."""

from collections.abc import Callable, Sequence

from server.application.deadline import deadline
from server.application.outside.revoked_tokens import MS_PER_S
from server.domain.control import Revocation, RevocationLifted, Revoked
from server.domain.errors import BadRequest, NotFound
from server.domain.identity import UserId
from server.ports.control import Control
from server.ports.revocations import Revocations

AHEAD_MS = 5 * MS_PER_S
"""How far `issued_before` may be ahead of this replica's clock: so much may clocks differ."""

LIST_S = 10.0
"""Time to list the revocations: there may be very many. If the store is away, it is known within 2 s."""


class Revoking:
    """The use cases of revocations. `now_ms` is wall-clock time in milliseconds; `new_id` makes ids.

    A revocation lives for `life_ms`. If tokens live for `token_life_ms` at most, a revocation of those that were issued
    before need not live longer, since they have expired then; a ban is of tokens that come, too. None: any time.

    If a use case raises `Unavailable` its change may have been made: the caller tries again.
    """

    def __init__(
        self,
        store: Revocations,
        control: Control,
        now_ms: Callable[[], int],
        new_id: Callable[[], str],
        life_ms: int,
        token_life_ms: int | None = None,
    ) -> None:
        self._store = store
        self._control = control
        self._now_ms = now_ms
        self._new_id = new_id
        self._life_ms = life_ms
        self._token_life_ms = life_ms if token_life_ms is None else min(life_ms, token_life_ms + AHEAD_MS)

    async def revoke_user(self, user: UserId, issued_before: int | None = None, *, ban: bool = False) -> Revocation:
        """Revoke a user's tokens that were issued before a time; None: now. `ban`: those that come, too. Raises
        `BadRequest`, `Unavailable`, `Overloaded`."""
        return await self._revoke(user, None, issued_before, ban)

    async def revoke_token(self, token_id: str, issued_before: int | None = None) -> Revocation:
        """Revoke the token with this id. Raises as `revoke_user`."""
        return await self._revoke(None, token_id, issued_before, False)

    async def _revoke(
        self, user: UserId | None, token_id: str | None, issued_before: int | None, ban: bool
    ) -> Revocation:
        now = self._now_ms()
        issued_before = now if issued_before is None else issued_before
        if issued_before > now + AHEAD_MS:
            raise BadRequest(
                f"issued_before: later than {AHEAD_MS // MS_PER_S} s from now", details={"field": "issued_before"}
            )
        revocation = Revocation(
            id=self._new_id(),
            user=user,
            token_id=token_id,
            issued_before=issued_before,
            expires_at=now + (self._life_ms if ban else self._token_life_ms),
            ban=ban,
        )
        async with deadline():
            await self._store.add(revocation)
            await self._control.append(Revoked(revocation))
        return revocation

    async def lift(self, id: str) -> None:
        """Let the tokens of a revocation be good again. Raises `NotFound`, `Unavailable`."""
        async with deadline():
            if not await self._store.remove(id):
                raise NotFound("there is no revocation with this id; it may have expired")
            await self._control.append(RevocationLifted(id))

    async def revocations(self) -> Sequence[Revocation]:
        """Return the revocations in force, the next to expire first. Raises `Unavailable`."""
        async with deadline(LIST_S):
            held = await self._store.load()
        return sorted(held.revocations, key=lambda revocation: (revocation.expires_at, revocation.id))

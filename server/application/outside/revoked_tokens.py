"""The tokens that are good no longer, in the memory of this replica."""

import asyncio
from collections.abc import Callable, Iterable

from server.domain.control import Revocation
from server.domain.errors import TokenRevoked
from server.domain.identity import Identity, UserId

MS_PER_S = 1_000


class RevokedTokens:
    """Revocations by user and by token. `now_ms` is wall-clock time in milliseconds.

    `loaded` is set once the store has been read: before that no token can be judged.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self.loaded = asyncio.Event()
        self._all: dict[str, Revocation] = {}  # by their ids
        self._of_user: dict[UserId, dict[str, Revocation]] = {}  # by user, then by id
        self._of_token: dict[str, dict[str, Revocation]] = {}  # by `jti`, then by id

    def __len__(self) -> int:
        """How many are held."""
        return len(self._all)

    def add(self, revocation: Revocation) -> None:
        """Heed a revocation; adding it again changes nothing."""
        if revocation.expires_at > self._now_ms():
            self._all[revocation.id] = revocation
            self._place(revocation)[revocation.id] = revocation

    def lift(self, id: str) -> None:
        """Heed the revocation with this id no longer."""
        revocation = self._all.pop(id, None)
        if revocation is not None:
            place = self._place(revocation)
            del place[id]
            if not place:
                self._forget_place(revocation)

    def replace(self, revocations: Iterable[Revocation]) -> None:
        """Heed these in place of all others, from now on."""
        self._all.clear()
        self._of_user.clear()
        self._of_token.clear()
        for revocation in revocations:
            self.add(revocation)
        self.loaded.set()

    def sweep(self) -> None:
        """Forget those that have expired."""
        now = self._now_ms()
        for revocation in [each for each in self._all.values() if each.expires_at <= now]:
            self.lift(revocation.id)

    def concern(self, identity: Identity) -> bool:
        """Say whether the token is good no longer."""
        if not self._all:
            return False
        now, user, token_id = self._now_ms(), identity.user, identity.token_id
        if any(_concerns(each, identity, now) for each in self._of_user.get(user, {}).values()):
            return True
        return token_id is not None and any(each.expires_at > now for each in self._of_token.get(token_id, {}).values())

    def check(self, identity: Identity) -> None:
        """Raise `TokenRevoked` if the token is good no longer."""
        if self._all and self.concern(identity):
            raise token_revoked()

    def _place(self, revocation: Revocation) -> dict[str, Revocation]:
        if revocation.user is not None:
            return self._of_user.setdefault(revocation.user, {})
        assert revocation.token_id is not None  # a revocation has either
        return self._of_token.setdefault(revocation.token_id, {})

    def _forget_place(self, revocation: Revocation) -> None:
        if revocation.user is not None:
            del self._of_user[revocation.user]
        elif revocation.token_id is not None:
            del self._of_token[revocation.token_id]


def token_revoked() -> TokenRevoked:
    """The refusal of a token that was revoked, and the end of its sessions."""
    return TokenRevoked("the token has been revoked; sign in again")


def _concerns(revocation: Revocation, identity: Identity, now: int) -> bool:
    """Say whether a revocation of the token's user concerns the token. Issuers write whole seconds: a token of the very
    second is good."""
    if revocation.expires_at <= now:
        return False
    if revocation.ban or identity.issued_at is None:
        return True
    return identity.issued_at < revocation.issued_before // MS_PER_S

"""The tokens that are good no longer, in the memory of this replica."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from server.application.turn import in_turns
from server.domain.control import Revocation
from server.domain.errors import TokenRevoked
from server.domain.identity import Identity, UserId

MS_PER_S = 1_000

_Concerned = tuple[UserId | None, str | None]
"""A user, or the id of a token; the other is None."""

_NONE: Mapping[str, Revocation] = {}


class RevokedTokens:
    """Revocations by user and by token. `now_ms` is wall-clock time in milliseconds.

    `loaded` is set once the store has been read: before that no token can be judged.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self.loaded = asyncio.Event()
        self._all: dict[str, Revocation] = {}  # by their ids
        self._alike: dict[_Concerned, dict[str, Revocation]] = {}  # by the user or the token, then by id

    def __len__(self) -> int:
        """How many are held."""
        return len(self._all)

    def __contains__(self, id: str) -> bool:
        """Say whether the revocation with this id is held."""
        return id in self._all

    def all(self) -> Sequence[Revocation]:
        """Return those that are held: a copy."""
        return tuple(self._all.values())

    def add(self, revocation: Revocation) -> None:
        """Heed a revocation; adding it again changes nothing."""
        if revocation.expires_at > self._now_ms():
            self._all[revocation.id] = revocation
            self._alike.setdefault(_concerned(revocation), {})[revocation.id] = revocation

    def lift(self, id: str) -> None:
        """Heed the revocation with this id no longer."""
        revocation = self._all.pop(id, None)
        if revocation is not None:
            concerned = _concerned(revocation)
            del self._alike[concerned][id]
            if not self._alike[concerned]:
                del self._alike[concerned]

    async def replace(self, revocations: Iterable[Revocation]) -> None:
        """Heed these in place of all others, as this returns. There may be many: other tasks get their turns."""
        loading = RevokedTokens(self._now_ms)
        async for revocation in in_turns(revocations):
            loading.add(revocation)
        self._all, self._alike = loading._all, loading._alike
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
        now, token_id = self._now_ms(), identity.token_id
        by_user = self._alike.get((identity.user, None), _NONE)
        if any(_concerns(each, identity, now) for each in by_user.values()):
            return True
        by_token = _NONE if token_id is None else self._alike.get((None, token_id), _NONE)
        return any(each.expires_at > now for each in by_token.values())

    def check(self, identity: Identity) -> None:
        """Raise `TokenRevoked` if the token is good no longer."""
        if self._all and self.concern(identity):
            raise token_revoked()


def _concerned(revocation: Revocation) -> _Concerned:
    return revocation.user, revocation.token_id


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

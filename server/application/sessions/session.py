"""A session: an admitted client, from its CONNECT to its end."""

from dataclasses import dataclass

from server.application.limits.error_budget import ErrorBudget
from server.application.limits.limiter import Allowance
from server.domain.control import RefreshAsked
from server.domain.errors import Unauthenticated
from server.domain.identity import Identity, SessionId


@dataclass(slots=True, eq=False)
class Session:
    """An admitted client."""

    id: SessionId
    identity: Identity  # of its latest token
    allowance: Allowance | None = None  # its rates; None: any
    refusals: ErrorBudget | None = None  # None until the first
    ended: bool = False
    moves: bool = False  # whether the client was told to come back elsewhere
    warned_of: int | None = None  # the `exp` that the client has been warned of
    asked: RefreshAsked | None = None  # the refresh that the client owes

    def follow(self, former: "Session") -> None:
        """Go on with the rates and the refusals of a session that the client has left on the same connection."""
        if self.allowance is not None and former.allowance is not None:
            self.allowance.follow(former.allowance)
            self.refusals = former.refusals


def session_ended() -> Unauthenticated:
    """The refusal of a command whose session has ended while it waited."""
    return Unauthenticated("the session has ended; connect again")

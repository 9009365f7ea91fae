"""How connections end for what their clients do, or do not do."""

from typing import NamedTuple

from server.domain.errors import Internal, MaruError
from server.domain.outcomes import CloseReason
from server.gateway.websocket.frames import CloseCode


class Verdict(NamedTuple):
    """The close frame's code, if the server writes it, and the cause, also in words."""

    code: CloseCode
    cause: CloseReason
    reason: str


NO_CONNECT = Verdict(CloseCode.POLICY_VIOLATION, CloseReason.NO_CONNECT, "no CONNECT in time")
"""The client has never sent a CONNECT."""

LEFT = Verdict(CloseCode.POLICY_VIOLATION, CloseReason.CLIENT_LEFT, "client left")
"""The client has said so by DISCONNECT, and has kept the WebSocket; or by Engine.IO's close."""

CLOSED_BY_CLIENT = Verdict(CloseCode.NORMAL, CloseReason.CLIENT_LEFT, "client closed")
"""The client's close frame has come."""

LOST = Verdict(CloseCode.NORMAL, CloseReason.TRANSPORT_LOST, "transport closed")
"""TCP has ended without a word."""

BROKEN = Verdict(CloseCode.NORMAL, CloseReason.TRANSPORT_LOST, "transport error")
"""TCP has failed."""


def refused(error: MaruError) -> Verdict:
    """The client's CONNECT was refused."""
    code = CloseCode.INTERNAL_ERROR if isinstance(error, Internal) else CloseCode.POLICY_VIOLATION
    return Verdict(code, CloseReason.REFUSED, f"CONNECT refused: {error.code}")


def why(end: Verdict, session: object | None, verdict: Verdict) -> tuple[CloseReason, str]:
    """Return why a client brings about an end: it has no session any more, or it is as `end` says."""
    _, cause, reason = end if session or verdict is NO_CONNECT else verdict
    return cause, reason

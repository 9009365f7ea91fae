"""How connections, handshakes, replays and drains end: the closed sets that metrics and log lines name."""

from enum import StrEnum


class CloseReason(StrEnum):
    """Why a connection ended: the first cause that was known, one for each connection."""

    CLIENT_LEFT = "client_left"  # DISCONNECT, Engine.IO's close or a close frame came
    TRANSPORT_LOST = "transport_lost"  # TCP ended, or failed, without a word
    PING_TIMEOUT = "ping_timeout"
    SLOW_READER = "slow_reader"  # over the bound of a connection, or takes nothing while it is waited for
    MEMORY_CAP = "memory_cap"  # the fattest, when all connections together were over the bound of the process
    MALFORMED = "malformed"  # a frame or a packet that breaks the protocol; binary, too
    TOO_BIG = "too_big"  # a message over `maxPayload`
    REFUSED = "refused"  # its CONNECT was: no token, a bad token, another namespace
    NO_CONNECT = "no_connect"  # none came in time
    TERMINATED = "terminated"  # the session ended: expired, revoked
    DRAINING = "draining"  # told to come back elsewhere
    SERVER_STOPPED = "server_stopped"  # cut off at the end of a stop
    INTERNAL_ERROR = "internal_error"


CLIENT_AT_FAULT = frozenset(
    (
        CloseReason.SLOW_READER,
        CloseReason.MALFORMED,
        CloseReason.TOO_BIG,
        CloseReason.REFUSED,
        CloseReason.NO_CONNECT,
    )
)
"""Ends behind which the server reads as good as nothing."""


class Refusal(StrEnum):
    """Why a handshake got no WebSocket."""

    RATE = "rate"
    ADDRESS = "address"  # the client's address asks too often, or has too much open
    BUSY = "busy"  # the event loop is late, or too much waits for slow readers
    CONNECTIONS = "connections"  # as many are open as may be
    DRAINING = "draining"
    ORIGIN = "origin"
    TRANSPORT = "transport"  # long-polling, with which libraries begin unless they are told otherwise
    BAD_REQUEST = "bad_request"
    TOKEN_IN_QUERY = "token_in_query"  # noqa: S105  # a name, not a token


class ReplaySource(StrEnum):
    """Where the events that a client is given as it joins or resumes come from."""

    RING = "ring"  # the hub's memory alone
    LOG = "log"  # the log had to be read


class KeyOrigin(StrEnum):
    """Which key a good token is signed with."""

    CURRENT = "current"  # the secret, or the first public key, of the settings
    PREVIOUS = "previous"  # the secret or public keys that the settings still take
    JWKS = "jwks"  # a key of the issuer's set


class JwksFetch(StrEnum):
    """How a fetch of the issuer's keys ended."""

    OK = "ok"
    UNREACHABLE = "unreachable"  # no connection, no TLS, or the answer broke off
    LATE = "late"  # not within the time
    STATUS = "status"  # an HTTP status other than 200, redirects included
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"  # no JSON, or no set of keys
    NO_KEYS = "no_keys"  # none that may sign tokens


class DrainEnd(StrEnum):
    """How a connection went during a drain."""

    LEFT = "left"  # by itself, after it was told
    CLOSED = "closed"  # by us, in its turn
    ABORTED = "aborted"  # cut off at the end of the time

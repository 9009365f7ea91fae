"""The answers to refused handshakes."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import orjson
from aiohttp import hdrs, web

from server.domain.errors import RateLimited, TokenInQuery
from server.domain.gcra import whole_ms
from server.domain.outcomes import Refusal
from server.wire import errors

BUSY_RETRY_S = 5
"""Clients of a replica that has no room or no time are told to come back after 1 to so many seconds, at random."""

_JSON = "application/json; charset=utf-8"

_FOR_ALL_PAGES: Mapping[str, str] = {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*"}
"""Lets a page of any site read why it was refused: the answers are the same for everybody."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer to a refused handshake. `remedy` is for the log."""

    reason: Refusal
    status: int
    body: bytes
    remedy: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self) -> web.Response:
        """Return the answer for aiohttp to write."""
        answer = web.Response(body=self.body, status=self.status, headers=self._fields())
        if hdrs.CONNECTION in self.headers:  # aiohttp does not look at the header
            answer.force_close()
        return answer

    def written(self) -> bytes:
        """Return the bytes of the answer. The connection must be closed behind them."""
        headers = self._fields() | {hdrs.CONTENT_LENGTH: str(len(self.body))}
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}", *map(": ".join, headers.items()), "", ""]
        return "\r\n".join(lines).encode() + self.body

    def _fields(self) -> dict[str, str]:
        return {**_FOR_ALL_PAGES, **self.headers, hdrs.CONTENT_TYPE: _JSON}


def preflight() -> web.Response:
    """Let a browser send a request of a page of another site, which will be refused, with a reason (Fetch standard).

    A WebSocket is opened without this question: only long-polling asks it, for headers such as `Authorization`.
    """
    allowed: dict[str, str] = {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, POST",
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "*, Authorization",
    }
    return web.Response(status=204, headers={**_FOR_ALL_PAGES, **allowed})


def unknown_transport() -> Refused:
    """Return the 400 to a client that begins with long-polling: most libraries do, unless they are told otherwise."""
    message = 'Transport unknown: connect with transports: ["websocket"]'
    remedy = 'the client tries long-polling; set transports: ["websocket"] in it (PROTOCOL.md, "Transport")'
    return _refused(Refusal.TRANSPORT, 400, {"code": 0, "message": message}, remedy)


def other_revision() -> Refused:
    """Return the 400 to a client of another protocol."""
    remedy = "the client speaks another revision of Engine.IO; it needs Socket.IO 3 or later (EIO=4)"
    return _bad_request(5, "Unsupported protocol version", remedy)


def unknown_sid() -> Refused:
    """Return the 400 to a client that would upgrade a session of long-polling."""
    return _bad_request(1, "Session ID unknown", "a WebSocket begins without `sid`; the client should connect anew")


def long_query(limit: int) -> Refused:
    """Return the 400 to a query string that is not read."""
    remedy = f"the client's query has more than {limit:,} characters; what is meant for the server belongs into `auth`"
    return _bad_request(3, f"Query string of more than {limit:,} characters", remedy)


def no_websocket() -> Refused:
    """Return the 400 to a request that is no proper handshake (RFC 6455, section 4.2.1)."""
    remedy = "no WebSocket handshake; if a proxy is in between, let it pass `Upgrade` and `Connection` on"
    return _bad_request(3, "Bad request", remedy)


def other_path() -> Refused:
    """Return the 404 to a handshake elsewhere than at `/socket.io/`."""
    remedy = "the client asks for another path; set `path` in it to /socket.io/, with both slashes, or leave it out"
    message = "Unknown path: connect to /socket.io/"
    return _refused(Refusal.BAD_REQUEST, 404, {"code": 3, "message": message}, remedy)


def unreadable() -> Refused:
    """Return a 400 to a request that can't be parsed. aiohttp writes its own; this is for the log."""
    remedy = "no HTTP, or a line over 16 KB: look for `https:` at this port, and for large cookies and tokens"
    return _bad_request(3, "Bad request", remedy)


def token_in_query() -> Refused:
    """Return the 400 to a URL with a token in it."""
    error = TokenInQuery("a token stands in the URL; send it in the CONNECT payload, and replace it")
    remedy = "the client puts a token into the URL; move it to `auth`, replace it, and clean the logs of proxies"
    return _refused(Refusal.TOKEN_IN_QUERY, 400, errors.http_body(error), remedy)


def foreign_origin() -> Refused:
    """Return the 403 to a page of another site."""
    remedy = "list the page's origin in MARU_ALLOWED_ORIGINS, if it is yours"
    return _refused(Refusal.ORIGIN, 403, {"code": 4, "message": "Forbidden"}, remedy)


def too_many(wait_s: float, problem: str, remedy: str) -> Refused:
    """Return the 429 to an address that asks too often, or has too much open. A proxy does not ask another replica, as
    it would after a 503."""
    error = RateLimited(problem, retry_after_ms=whole_ms(wait_s))
    headers: dict[str, str] = {hdrs.RETRY_AFTER: str(max(1, math.ceil(wait_s))), hdrs.CONNECTION: "close"}
    return _refused(Refusal.ADDRESS, 429, errors.http_body(error), remedy, headers)


def draining() -> Refused:
    """Return the 503 of a server that stops."""
    return _later(Refusal.DRAINING, "Restarting", 1, "nothing is wrong: this replica stops, and clients go to another")


def too_fast(wait_s: int) -> Refused:
    """Return the 503 of a server that is asked too often by everybody together."""
    remedy = "more handshakes than MARU_ADMISSION_RATE; add replicas if they are those of clients"
    return _later(Refusal.RATE, "Too many at once", wait_s, remedy)


def full() -> Refused:
    """Return the 503 of a connection for which there is no room."""
    remedy = "as many connections as the replica takes; add replicas, or raise MARU_MAX_CONNECTIONS"
    return _later(Refusal.CONNECTIONS, "Too many connections", _soon_s(), remedy)


def busy() -> Refused:
    """Return the 503 of a server that has no time for newcomers."""
    return _later(
        Refusal.BUSY, "Busy", _soon_s(), "the replica has too much to do; add replicas, or look for the cause"
    )


def _soon_s() -> int:
    return random.randint(1, BUSY_RETRY_S)  # noqa: S311  # jitter


def _bad_request(code: int, message: str, remedy: str) -> Refused:
    """Return a 400 with an error code of Engine.IO."""
    return _refused(Refusal.BAD_REQUEST, 400, {"code": code, "message": message}, remedy)


def _later(reason: Refusal, message: str, wait_s: int, remedy: str) -> Refused:
    """Return a 503. The HTTP connection ends, too, so that a proxy or a client tries again, perhaps elsewhere."""
    headers: dict[str, str] = {hdrs.RETRY_AFTER: str(wait_s), hdrs.CONNECTION: "close"}
    return _refused(reason, 503, {"code": 3, "message": message}, remedy, headers)


def _refused(
    reason: Refusal, status: int, body: Mapping[str, object], remedy: str, headers: Mapping[str, str] | None = None
) -> Refused:
    return Refused(reason, status, orjson.dumps(body), remedy, headers or {})

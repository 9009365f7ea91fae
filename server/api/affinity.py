"""`POST /session`: a token for the cookie by which a sticky proxy sends all tabs and devices of a user to one replica.

The cookie is a keyed hash of the user: it shows which clients belong together, but not to which user, and grants
nothing but a place among those who are let in first when too many come at once.
"""

import math
import re
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import orjson
from aiohttp import hdrs, web
from multidict import CIMultiDict

from server.domain.affinity import AffinityCookies
from server.domain.errors import (
    BadRequest,
    MaruError,
    PermissionDenied,
    RateLimited,
    TokenInQuery,
    Unauthenticated,
    Unavailable,
)
from server.domain.gcra import whole_ms
from server.domain.identity import Identity
from server.domain.origins import is_own
from server.wire import errors

Verify = Callable[[str], Awaitable[Identity]]
"""From a token to its user and grants; raises `Unauthenticated` or `Unavailable`."""

Cookies = Callable[[], Awaitable[AffinityCookies]]
"""Return the cookies of all replicas."""

WaitS = Callable[[web.Request], float]
"""Count a request; return the seconds until it may be repeated, 0 if it is within the bounds."""

PATH: Final = "/session"

COOKIE: Final = "maru_affinity"
"""The name that nginx-sticky/nginx.conf knows too."""

MAX_AGE_S: Final = 24 * 3_600
"""A browser keeps the cookie for a day: one that stays away longer may get another replica; nothing depends on it."""

PREFLIGHT_AGE_S: Final = 600
"""How long a browser may cache the answer to a preflight request."""

MAX_BEARER_CHARS: Final = 16_000
"""Length of the Authorization header: about the longest token of a CONNECT. nginx-sticky refuses a line that is longer
still."""

_BEARER = re.compile(r"Bearer +([\w.~+/-]+=*)", re.ASCII | re.IGNORECASE)  # RFC 6750, section 2.1
_ANSWERS: Final[tuple[tuple[type[MaruError], int, dict[str, str]], ...]] = (
    (BadRequest, 400, {}),
    (TokenInQuery, 400, {}),
    (Unauthenticated, 401, {hdrs.WWW_AUTHENTICATE: "Bearer", hdrs.CONNECTION: "close"}),
    (PermissionDenied, 403, {}),
    (RateLimited, 429, {hdrs.CONNECTION: "close"}),
    (Unavailable, 503, {hdrs.RETRY_AFTER: "1"}),
    (MaruError, 500, {}),
)
"""Status and headers by error; the first row that fits counts. `TokenInQuery` comes before `Unauthenticated`, its base:
its client has to correct the URL, and another token would not help. A bad token costs its client the connection."""


class Affinity:
    """Gives users their cookie. `cookies` are those of all replicas; asking for them may raise `Unavailable`. `wait_s`
    counts a request, and returns the seconds that its client has to wait.

    Pages of the listed `origins` may ask from another site, with credentials. `*` in the list does not allow that to
    further pages, since browsers take no wildcard together with credentials. A token is neither kept nor logged.
    """

    def __init__(self, verify: Verify, cookies: Cookies, origins: Collection[str], wait_s: WaitS) -> None:
        self._verify = verify
        self._cookies = cookies
        self._wait_s = wait_s
        self._listed = frozenset(origins) - {"*"}
        self._any = "*" in origins

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to mount on the public port."""
        return [web.post(PATH, self.give_cookie), web.options(PATH, self.preflight)]

    async def give_cookie(self, request: web.Request) -> web.StreamResponse:
        """Answer 204 with the cookie, or 400, 401, 403 or 503 with the error envelope."""
        try:
            if wait_s := self._wait_s(request):
                raise RateLimited("too many requests", retry_after_ms=whole_ms(wait_s))
            self._admit_origin(request)
            if request.rel_url.raw_query_string:
                raise TokenInQuery("the URL has arguments; send the token as `Authorization: Bearer`, and replace it")
            user = (await self._verify(_bearer(request))).user
            value = (await self._cookies()).value(user, time.time())
        except MaruError as error:
            return _refused(error, self._cors(request))
        response = web.Response(status=204, headers=self._cors(request))
        response.set_cookie(
            COOKIE,
            value,
            max_age=MAX_AGE_S,
            path="/",
            httponly=True,
            samesite="Lax",
            secure=_came_by_https(request),
        )
        return response

    async def preflight(self, request: web.Request) -> web.StreamResponse:
        """Answer a browser that asks on behalf of another site's page (Fetch standard, "CORS protocol")."""
        headers = self._cors(request)
        if hdrs.ACCESS_CONTROL_ALLOW_ORIGIN not in headers:
            return _refused(PermissionDenied("this origin is not listed in MARU_ALLOWED_ORIGINS"), headers)
        headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = hdrs.METH_POST
        headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = hdrs.AUTHORIZATION
        headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(PREFLIGHT_AGE_S)
        return web.Response(status=204, headers=headers)

    def _admit_origin(self, request: web.Request) -> None:
        """Raise `PermissionDenied` if the page's origin is neither listed nor the server's own. A request without an
        origin is allowed, as for a WebSocket: it is not from a page."""
        origin = request.headers.get(hdrs.ORIGIN)
        known = origin is None or self._any or origin in self._listed
        if not known and not is_own(origin or "", request.headers.get(hdrs.HOST, "")):
            raise PermissionDenied("this origin is not listed in MARU_ALLOWED_ORIGINS")

    def _cors(self, request: web.Request) -> CIMultiDict[str]:
        headers = CIMultiDict({hdrs.CACHE_CONTROL: "no-store", hdrs.VARY: hdrs.ORIGIN})
        origin = request.headers.get(hdrs.ORIGIN)
        if origin in self._listed:
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"
        return headers


def _bearer(request: web.Request) -> str:
    fields = request.headers.getall(hdrs.AUTHORIZATION, [])
    if not fields:
        raise Unauthenticated("no token; send it as `Authorization: Bearer`")
    if len(fields) > 1:
        raise BadRequest("more than one Authorization header")
    if len(fields[0]) > MAX_BEARER_CHARS:
        raise BadRequest(f"the Authorization header is longer than {MAX_BEARER_CHARS} characters")
    found = _BEARER.fullmatch(fields[0])
    if found is None:
        raise Unauthenticated("the Authorization header is no bearer token")
    return found[1]


def _came_by_https(request: web.Request) -> bool:
    return request.secure or request.headers.get(hdrs.X_FORWARDED_PROTO, "").lower() == "https"


def _refused(error: MaruError, headers: CIMultiDict[str]) -> web.Response:
    status, more = next((status, more) for kind, status, more in _ANSWERS if isinstance(error, kind))
    headers.update(more)
    if error.retry_after_ms is not None:
        headers[hdrs.RETRY_AFTER] = str(math.ceil(error.retry_after_ms / 1_000))
    answer = web.json_response(body=orjson.dumps(errors.http_body(error)), status=status, headers=headers)
    if hdrs.CONNECTION in more:  # aiohttp does not look at the header
        answer.force_close()
    return answer

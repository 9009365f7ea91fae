"""The demo page and its tokens: for development only, mounted by `MARU_DEV`.

`GET /` and `GET /demo/*` serve `clients/js-demo/public`, `GET /js/src/*` the client in `clients/js/src`, and
`GET /vendor/*` the client library that npm installed. The page's modules import `../../js/src/`, as on disk.
`GET /dev/token?user=NAME` gives anybody a token for any user, so it answers this machine alone: asked from there, by a
loopback name, through no proxy, by no page of another machine. Pages of this machine may be on any port.
"""

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import orjson
from aiohttp import HttpVersion11, web

from server.domain.addresses import is_loopback
from server.domain.errors import BadRequest
from server.domain.identity import MAX_USER_CHARS
from server.domain.texts import visible
from server.wire import errors, words

CLIENT_LIBRARY = "js-demo/node_modules/socket.io-client/dist/socket.io.esm.min.js"

TOKEN_TTL_S = 3_600
MAX_TTL_S = 24 * 3_600
MAX_TTL_DIGITS = 5

MintToken = Callable[[str, int], str]
"""Make a token for a user; it lives for this many seconds."""

_FORWARDED = (
    "forwarded",
    "x-forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-original",
    "cf-connecting",
    "true-client",
)
"""How the names of headers begin that a proxy adds."""

_OWN_SITES = ("same-origin", "none")
"""`Sec-Fetch-Site` of this server's own pages, and of an address that was typed."""

_PAGE_HEADERS = {
    # `connect-src 'self'` covers the page's own WebSocket, and no other port or host.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

_MISSING = """The demo page is not served: its client library is not installed.
Install Node.js with npm, run `npm ci` in clients/js-demo, and start again (`make run` does both).
The server itself is up: connect a Socket.IO client to /chat; GET /dev/token?user=NAME gives a token.
"""


def available(root: Path) -> bool:
    """Say whether the page can be served from `root`, which is `clients`."""
    return all((root / name).is_file() for name in (CLIENT_LIBRARY, "js-demo/public/index.html", "js/src/index.js"))


class Demo:
    """The development routes over the files in `root`. Without the client library `GET /` says how to install it.
    `public`: other machines may ask for tokens, too."""

    def __init__(self, root: Path, mint: MintToken, *, public: bool) -> None:
        self._root = root
        self._page = (root / "js-demo/public").resolve()
        self._client = (root / "js/src").resolve()
        self._mint = mint
        self._public_tokens = public

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to mount on the public port."""
        token = web.get("/dev/token", self.token)
        if not available(self._root):
            return [web.get("/", self.missing), token]
        return [
            web.get("/", self.index),
            web.get("/demo/{name:.+}", self.asset),
            web.get("/js/src/{name:.+}", self.client),
            web.get("/vendor/socket.io.esm.min.js", self.library),
            token,
        ]

    async def index(self, _: web.Request) -> web.StreamResponse:
        """Serve the page."""
        return web.FileResponse(self._page / "index.html", headers=_PAGE_HEADERS)

    async def asset(self, request: web.Request) -> web.StreamResponse:
        """Serve a file of the page."""
        return _file(self._page, request.match_info["name"])

    async def client(self, request: web.Request) -> web.StreamResponse:
        """Serve a file of the client."""
        return _file(self._client, request.match_info["name"])

    async def library(self, _: web.Request) -> web.StreamResponse:
        """Serve the Socket.IO client."""
        return web.FileResponse(self._root / CLIENT_LIBRARY, headers=_PAGE_HEADERS)

    async def missing(self, _: web.Request) -> web.StreamResponse:
        """Answer with the remedy for the missing page."""
        return web.Response(text=_MISSING, status=404)

    async def token(self, request: web.Request) -> web.StreamResponse:
        """Answer `?user=NAME[&ttl=SECONDS]` with `{token, user, expires_at}`."""
        problem = self._stranger(request)
        answer = _refused(problem) if problem else self._minted(request)
        origin = request.headers.get("Origin")
        if origin is not None and _is_loopback_origin(origin):
            answer.headers["Access-Control-Allow-Origin"] = origin
        answer.headers["Vary"] = "Origin"
        return answer

    def _minted(self, request: web.Request) -> web.Response:
        user, ttl = visible(request.query.get("user", "")), request.query.get("ttl", str(TOKEN_TTL_S))
        if not 1 <= len(user) <= MAX_USER_CHARS or not user.isprintable():
            return _refused(f"user: expected 1 to {MAX_USER_CHARS} printable characters")
        whole = ttl.isascii() and ttl.isdigit() and len(ttl) <= MAX_TTL_DIGITS
        if not whole or not 1 <= int(ttl) <= MAX_TTL_S:
            return _refused(f"ttl: expected 1 to {MAX_TTL_S} seconds")
        expires_at = words.timestamp((int(time.time()) + int(ttl)) * 1_000)
        body = {"token": self._mint(user, int(ttl)), "user": user, "expires_at": expires_at}
        return web.json_response(body=orjson.dumps(body), headers={"Cache-Control": "no-store"})

    def _stranger(self, request: web.Request) -> str | None:
        """Return why the request may come from somebody else than this machine's user."""
        # Proxies speak HTTP/1.0 unless they are told otherwise, and then may add no header; no browser does.
        if request.version < HttpVersion11 or any(name.lower().startswith(_FORWARDED) for name in request.headers):
            return "this request came through a proxy; ask the server itself, at http://localhost"
        if not self._public_tokens and not is_loopback(request.remote):
            return "this request came from another machine; MARU_DEV=insecure-public lets it have tokens"
        if not self._public_tokens and not is_loopback(request.url.host):
            return "this host name is not the loopback's; open http://localhost"
        origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", "none")
        if _is_loopback_origin(origin) if origin is not None else site in _OWN_SITES:
            return None
        return "a page of another machine asks; open the page from http://localhost"


def _file(folder: Path, name: str) -> web.FileResponse:
    path = folder / name
    try:
        found = path.resolve().is_relative_to(folder) and path.is_file()
    except (OSError, ValueError):  # a name that is too long for the file system, or holds a NUL
        found = False
    if not found:
        raise web.HTTPNotFound
    return web.FileResponse(path, headers=_PAGE_HEADERS)


def _refused(message: str) -> web.Response:
    return web.json_response(body=orjson.dumps(errors.http_body(BadRequest(message))), status=400)


def _is_loopback_origin(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
        return parts.scheme in {"http", "https"} and is_loopback(parts.hostname)
    except ValueError:
        return False

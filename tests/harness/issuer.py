"""An issuer of tokens in a thread: a real HTTPS server with a CA of its own, whose answers a test chooses.

It counts the requests. It stands in a thread with a loop of its own, so that it answers while the test's loop is busy.
"""

import asyncio
import base64
import json
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.harness.certificates import make_certificate
from tests.harness.process import free_port
from tests.harness.tokens import EVERYTHING

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Jwk = dict[str, Any]


def base64url(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk(key: PrivateKey, kid: object, **fields: Any) -> Jwk:
    """The public half of a key as a JWK, with further fields, or without those that are None."""
    public = key.public_key()
    shown: dict[str, object]
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        shown = {"kty": "RSA", "n": base64url(numbers.n.to_bytes(public.key_size // 8, "big")), "e": "AQAB"}
    elif isinstance(public, ec.EllipticCurvePublicKey):
        point, size = public.public_numbers(), (public.curve.key_size + 7) // 8
        crv = f"P-{public.curve.key_size}"
        x, y = (base64url(number.to_bytes(size, "big")) for number in (point.x, point.y))
        shown = {"kty": "EC", "crv": crv, "x": x, "y": y}
    else:
        shown = {"kty": "OKP", "crv": "Ed25519", "x": base64url(public.public_bytes_raw())}
    shown = {**shown, "kid": kid, **fields}
    return {name: shown[name] for name in shown if shown[name] is not None}


def sign(key: PrivateKey, kid: str | None, user: str = "alice", **claims: Any) -> str:
    """A token that is good for an hour, by a key of this name."""
    if isinstance(key, rsa.RSAPrivateKey):
        name = "RS256"
    else:
        name = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "EdDSA"
    body = {"sub": user, "exp": int(time.time()) + 3_600, "channels": dict(EVERYTHING), **claims}
    return jwt.encode(body, key, name, {} if kid is None else {"kid": kid})


def document(*keys: Jwk) -> bytes:
    """A JWK Set."""
    return json.dumps({"keys": keys}).encode()


class Issuer:
    """Use as a context manager. `keys` is the set that it answers with, or `answer` does; `ca` is its CA's file."""

    def __init__(self, folder: Path, *, tls: bool = True) -> None:
        self.ca = folder / "ca.pem"
        self.keys: list[Jwk] = []
        self.answer: Answer | None = None  # in place of the set
        self.headers: Mapping[str, str] = {}  # of the set
        self.requests: list[float] = []  # when, by the monotonic clock
        self._port = free_port()
        self._tls = _make_context(folder) if tls else None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="issuer", daemon=True)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The address of the set."""
        return f"{'http' if self._tls is None else 'https'}://localhost:{self._port}/keys"

    def __enter__(self) -> "Issuer":
        self._thread.start()
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)
        self._loop.close()

    def up(self) -> None:
        """Listen (again)."""
        asyncio.run_coroutine_threadsafe(self._up(), self._loop).result(10.0)

    def down(self) -> None:
        """Refuse connections, and cut those that are there."""
        asyncio.run_coroutine_threadsafe(self._down(), self._loop).result(10.0)

    async def _up(self) -> None:
        app = web.Application()
        app.router.add_get("/keys", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "localhost", self._port, ssl_context=self._tls).start()

    async def _down(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(time.monotonic())
        if self.answer is not None:
            return await self.answer(request)
        return web.Response(body=document(*self.keys), headers=dict(self.headers))


def _make_context(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(make_certificate(folder).chain)
    return context

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
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import jwt
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

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
        self.ca = folder / "issuer-ca.pem"
        self.keys: list[Jwk] = []
        self.answer: Answer | None = None  # in place of the set
        self.headers: Mapping[str, str] = {}  # of the set
        self.requests: list[float] = []  # when, by the monotonic clock
        self._port = free_port()
        self._tls = _make_context(folder, self.ca) if tls else None
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


def _make_context(folder: Path, ca_file: Path) -> ssl.SSLContext:
    """A certificate for this machine, by a CA whose certificate is written to the file."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the tests' CA")])
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    ca = (
        _certificate(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        _certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), ca_name, key.public_key())
        .add_extension(names, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    ca_file.write_bytes(ca.public_bytes(Encoding.PEM))
    chain = folder / "issuer.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )

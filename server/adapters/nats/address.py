"""The URL of NATS: its servers, the login, and TLS."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

PORT = 4222
"""If the URL names none."""

_SCHEMES = ("nats", "tls")
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")

EXPECTED = (
    "not a NATS URL: expected nats://[user:password@]host:port,host:port or tls://...[?ssl_ca_certs=FILE]; "
    "percent-encode what is special in a password"
)


@dataclass(frozen=True, slots=True)
class Address:
    """The servers of NATS."""

    servers: tuple[str, ...]
    """As the client library takes them, without the login."""
    login: Mapping[str, str]
    """`user` and `password`, or `token`, or nothing."""
    tls: ssl.SSLContext | None


def parse(url: str) -> Address:
    """Return the address of a URL `nats://` or, by TLS, `tls://`: `user:password@` or `token@`, servers joined by `,`,
    and for TLS `?ssl_ca_certs=`, `ssl_certfile=` and `ssl_keyfile=`, which name files. Raises `ValueError`, which does
    not repeat the URL: it may hold a password."""
    parts = _checked(url)
    login, _, hosts = parts.netloc.rpartition("@")
    servers = tuple(f"{parts.scheme}://{_host(each)}" for each in hosts.split(","))
    files = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    if unknown := [name for name in files if name not in _FILES]:
        raise ValueError(f"an option of the URL is unknown: {unknown[0]}, expected {', '.join(_FILES)}")
    if parts.scheme == "nats" and files:
        raise ValueError("options of TLS in a nats:// URL; expected tls://")
    return Address(servers, _login(login), _context(files) if parts.scheme == "tls" else None)


def _checked(url: str) -> SplitResult:
    """Return the parts of a URL. A password that holds `/`, `?` or `#` as they are would end up in a host."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(EXPECTED) from None
    if parts.scheme not in _SCHEMES or not parts.netloc or "#" in url or parts.path.strip("/") or "@" in parts.query:
        raise ValueError(EXPECTED)
    return parts


def _login(text: str) -> Mapping[str, str]:
    if not text:
        return {}
    user, colon, password = text.partition(":")
    return {"user": unquote(user), "password": unquote(password)} if colon else {"token": unquote(user)}


def _host(text: str) -> str:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port or PORT
    except ValueError:
        host = None
        port = 0
    if not host or "@" in text:
        raise ValueError(EXPECTED)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _context(files: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=files.get("ssl_ca_certs"))
        if "ssl_certfile" in files:
            context.load_cert_chain(files["ssl_certfile"], files.get("ssl_keyfile"))
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"a file that the URL names for TLS can't be used ({type(error).__name__})") from None
    return context

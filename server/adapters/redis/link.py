"""Connections to Redis: plain, by TLS, with a password, by Sentinel. None waits longer than a client may have to."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from server.adapters.redis.master import Master
from server.adapters.redis.sentinels import SENTINEL_TIMEOUT_S, Sentinels

CONNECT_TIMEOUT_S = 0.9
"""A frozen or unreachable Redis is an outage and no hang: a whole command has 2 s (promise 9 of the log's port)."""

ANSWER_TIMEOUT_S = 0.9
"""For an answer while connecting. Answers to commands have the deadline of `Pipeline`."""

SENTINEL_PORT = 26_379
SERVICE = "mymaster"
"""The service's name if the URL gives none, as in Redis' own documentation."""

_OPTIONS: Mapping[str, Any] = {
    "socket_connect_timeout": CONNECT_TIMEOUT_S,
    "socket_timeout": ANSWER_TIMEOUT_S,
    "decode_responses": False,
    "protocol": 2,
    # The check would read answers that belong to the listener, which finds out by itself that a link is dead.
    "health_check_interval": 0,
    # The library's own retries would multiply the waits above. Callers decide what is tried again.
    "retry": Retry(NoBackoff(), 0),
}


_LASTING = re.compile(r"DB index|NOPERM|no permissions|DENIED|protected mode", re.IGNORECASE)
"""Refusals of Redis that last until somebody changes its settings or the URL."""


def connect(url: str) -> Redis:
    """Return a client that connects when it is first used; close it by `close`.

    Takes `redis://`, `rediss://` (TLS; `?ssl_ca_certs=FILE` and redis-py's other options), `unix://`, and
    `redis+sentinel://user:password@host:port,host:port/db/service` (`rediss+sentinel://` by TLS;
    `?sentinel_password=` for the sentinels themselves). Raises `ValueError` on any other URL, without repeating it: it
    may hold a password.
    """
    try:
        scheme = _checked(url).scheme
        client = _by_sentinel(url) if scheme.endswith("+sentinel") else Redis.from_url(url)
        client.connection_pool.connection_kwargs.update(_OPTIONS)  # even if the URL says otherwise
        make_connection(client)  # an unknown option must fail here, and not at each try
    except (TypeError, ValueError, RedisError):
        raise ValueError(
            "not a Redis URL: expected redis://[user:password@]host:port/db, rediss://..., unix:///path or "
            "redis+sentinel://[user:password@]host:port,.../db/service; percent-encode what is special in a password"
        ) from None
    return client


def _checked(url: str) -> SplitResult:
    """Return the parts of a URL. Raises `ValueError` if its password holds `/`, `?` or `#` as they are: then the host
    would be a piece of the password, and end up in the log."""
    parts = urlsplit(url)
    parse_qsl(parts.query, strict_parsing=bool(parts.query))
    if "#" in url or ("@" in parts.path and parts.scheme != "unix") or ("@" in parts.query and "@" not in parts.netloc):
        raise ValueError("a password that is not percent-encoded")
    return parts


def _by_sentinel(url: str) -> Redis:
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    db, _, service = parts.path.strip("/").partition("/")
    # The rest is an ordinary URL, which the library reads.
    plain = parts._replace(scheme=parts.scheme.removesuffix("+sentinel"), netloc=f"{login}@master", path=f"/{db}")
    options: dict[str, Any] = {**parse_url(plain.geturl())}
    del options["host"]
    own = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    tls = {"ssl": True} if options.pop("connection_class", None) else {}
    tls |= {name: value for name, value in options.items() if name.startswith("ssl_")}
    timeouts = {"socket_connect_timeout": SENTINEL_TIMEOUT_S, "socket_timeout": SENTINEL_TIMEOUT_S}
    sentinel = Sentinels(  # type: ignore[no-untyped-call]
        [_address(host) for host in hosts.split(",")],
        sentinel_kwargs={**_OPTIONS, **timeouts, **own, **tls},
        **{**options, **tls},
    )
    master: Redis = sentinel.master_for(service or SERVICE)
    return master


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a sentinel without a host")
    return parts.hostname, parts.port or SENTINEL_PORT


def database(client: Redis) -> int:
    """Return the number of the database that the client uses."""
    return int(client.connection_pool.connection_kwargs.get("db") or 0)


def make_connection(client: Redis) -> AbstractConnection:
    """Return a new connection, which does not connect by itself. The caller must disconnect it."""
    connection: AbstractConnection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    return connection


async def open_connection(connection: AbstractConnection) -> None:
    """Connect. Raises `RedisError` or `OSError`."""
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
    except RuntimeError as error:  # uvloop's, if the node closes the connection while the library greets it
        raise ConnectionResetError("the connection was closed at once") from error
    _heed_cancellation()


async def write(connection: AbstractConnection, *commands: tuple[Any, ...]) -> None:
    """Send commands without waiting for their answers. Raises `RedisError` or `OSError`."""
    await connection.send_packed_command(b"".join(map(hiredis.pack_command, commands)), False)
    _heed_cancellation()


def _heed_cancellation() -> None:
    """Raise the cancellation that the library may have swallowed: it sends by `asyncio.wait_for`, which before Python
    3.12 does so if a cancellation or a deadline comes as its work is done. The caller would wait for ever."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def close(client: Redis) -> None:
    """Close the client and its connections to sentinels."""
    await client.aclose()
    if isinstance(client.connection_pool, SentinelConnectionPool):
        await client.connection_pool.sentinel_manager.aclose()


async def follow(url: str, master: Master) -> None:
    """Follow the sentinels of the URL until cancelled. Return at once if it has none."""
    client = connect(url)
    pool = client.connection_pool
    try:
        if isinstance(pool, SentinelConnectionPool):
            await pool.sentinel_manager.follow(pool.service_name, master)
    finally:
        await close(client)


async def startup_error(url: str) -> str | None:
    """Return why Redis will not serve this URL until somebody changes one of the two, e.g. because of a wrong password
    or a certificate that is not trusted. None if Redis serves, or is only away. Raises `ValueError` as `connect`."""
    client = connect(url)
    connection = make_connection(client)
    try:
        await open_connection(connection)
        await connection.send_command("PING")
        await connection.read_response()
    except AuthenticationError:
        return "Redis refuses the user or the password"
    except ResponseError as error:
        # Other refusals pass, such as BUSY with a script, or MISCONF while a disk is full.
        return f"Redis refuses to serve: {error}" if _LASTING.search(str(error)) else None
    except (RedisError, OSError) as error:
        return _certificate_error(error) if url.startswith("rediss") else None
    finally:
        with contextlib.suppress(RedisError, OSError):
            await connection.disconnect(nowait=True)
        await close(client)
    return None


def _certificate_error(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"Redis' certificate is not trusted: {error.verify_message}"
        if isinstance(error, FileNotFoundError):
            return "a file that the URL names for TLS does not exist"
        error = error.__cause__ or error.__context__
    return None

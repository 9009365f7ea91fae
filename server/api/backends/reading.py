"""Read a request: its key, parameters, headers and body. Each is bounded before it is parsed, and never quoted."""

import asyncio
import re
from typing import Any
from urllib.parse import unquote

import orjson
from aiohttp import hdrs, web

from server.api.backends.refusals import UnsupportedMediaType
from server.api.backends.table import Operation, Params
from server.domain.errors import BadRequest, PayloadTooLarge, Unauthenticated
from server.domain.limits import MAX_KEY_CHARS

BODY_S = 5.0
"""The time for a whole body to come."""

IDEMPOTENCY_KEY = "Idempotency-Key"

KEY_PATTERN = rf"^[!-~]{{1,{MAX_KEY_CHARS}}}$"
"""Visible characters of ASCII."""

_KEY = re.compile(KEY_PATTERN[1:-1], re.ASCII)
_BEARER = re.compile(r"Bearer +([!-~]{1,256})", re.ASCII | re.IGNORECASE)


def bearer(request: web.Request) -> str:
    """Return the text of the request's key. Raises `Unauthenticated`."""
    fields = request.headers.getall(hdrs.AUTHORIZATION, [])
    found = _BEARER.fullmatch(fields[0]) if len(fields) == 1 else None
    if found is None:
        raise Unauthenticated("no API key; send it as `Authorization: Bearer <key>`, once")
    return found[1]


def idempotency_key(request: web.Request) -> str | None:
    """Return the key by which a repeat finds the first message; None if there is none. Raises `BadRequest`."""
    fields = request.headers.getall(IDEMPOTENCY_KEY, [])
    if not fields:
        return None
    if len(fields) > 1 or not _KEY.fullmatch(fields[0]):
        raise BadRequest(
            f"{IDEMPOTENCY_KEY}: expected 1 to {MAX_KEY_CHARS} visible ASCII characters, once",
            details={"field": IDEMPOTENCY_KEY},
        )
    return fields[0]


def params(request: web.Request, operation: Operation[Any, Any]) -> Params:
    """Return what path and query say. Raises `BadRequest`. Unknown parameters of the query are ignored."""
    try:
        unquote(request.rel_url.raw_path + request.rel_url.raw_query_string, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest("the URL is not UTF-8") from None
    found: dict[str, str] = dict(request.match_info)
    for name, value in request.query.items():
        if name in operation.params.model_fields and name not in request.match_info:
            if name in found:
                raise BadRequest(f"{name}: stands in the query twice", details={"field": name})
            found[name] = value
    parsed: Params = operation.params.parse(found)
    return parsed


def matches(request: web.Request, etag: str) -> bool:
    """Say whether the client has this version already (RFC 9110, section 13.1.2)."""
    given = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH, []))
    return any(tag.strip().removeprefix("W/") in {"*", f'"{etag}"'} for tag in given.split(","))


async def json_body(request: web.Request, limit: int) -> object:
    """Read and parse a body. Raises `BadRequest`, `PayloadTooLarge`, `UnsupportedMediaType`."""
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() not in {"utf-8", "utf8"}:
        raise UnsupportedMediaType("expected Content-Type: application/json, in UTF-8")
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise UnsupportedMediaType("a compressed body is not read; send it as it is")
    raw = await _read(request, limit)
    try:
        return orjson.loads(raw)
    except ValueError as error:
        raise BadRequest(f"the body is no JSON: {error}", details={"field": "payload"}) from None


async def _read(request: web.Request, limit: int) -> bytes:
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    read = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.content.iter_any():
                read += part
                if len(read) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise BadRequest(f"the body did not come within {BODY_S:g} s") from None
    except web.RequestPayloadError:
        raise BadRequest("the body is malformed, or was cut off") from None
    return bytes(read)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body has more than {limit} bytes", details={"field": "payload", "limit": limit})

"""Parse `MARU_WEBHOOKS`: the receivers of events, as a JSON list or in a file.

Each error is a single line that names the endpoint and the field at fault. No secret and no URL stands in it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from server.domain.channels import is_pattern
from server.domain.signing import SigningKey
from server.domain.webhooks import MAX_BATCH_EVENTS, Endpoint, WebhookType, types_of
from server.settings.json_text import read_list, text_or_file

MAX_ENDPOINTS = 16
"""Each costs every append a look, and a replica a dispatcher."""

MAX_PATTERNS = 100
"""Patterns of channels of an endpoint: each append compares its channel with them."""

MAX_URL_CHARS = 2_048
"""Longer URLs are refused by many servers."""

_EXPECTED = (
    'a JSON list such as [{"name": "crm", "url": "https://crm.example.com/maru", "secret": "whsec_..."}], or a path'
)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)
_URL = re.compile(rf"[!-~]{{1,{MAX_URL_CHARS}}}", re.ASCII)


def endpoints(value: object) -> object:
    """Read the endpoints, given as JSON or as a file's path. Raises `ValueError`."""
    if not isinstance(value, str):
        return value
    try:
        text = text_or_file(value)
    except ValueError:  # which shows the text; a secret may stand there
        raise ValueError(f"expected {_EXPECTED} of a file that can be read") from None
    given = read_list(text, _EXPECTED)
    if len(given) > MAX_ENDPOINTS:
        raise ValueError(f"more than {MAX_ENDPOINTS} endpoints")
    found = tuple(_endpoint(number, item) for number, item in enumerate(given, 1))
    names = [endpoint.name for endpoint in found]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two endpoints are named {doubled!r}")
    return found


def _endpoint(number: int, given: object) -> Endpoint:
    if not isinstance(given, dict):
        raise ValueError(f"endpoint {number}: expected a JSON object")  # noqa: TRY004  # pydantic shows only a ValueError
    name = given.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"endpoint {number}: name: expected 1 to 32 of a-z, 0-9, - and _, such as 'crm'")
    for key in given:
        if key not in FIELDS:
            raise ValueError(f"{name}: {key!r} is unknown; expected some of {', '.join(FIELDS)}")
    fields = {key: _field(name, key, given) for key in FIELDS if key in given or key in _REQUIRED}
    secrets = [fields[key] for key in ("secret", "previous_secret") if key in fields]
    return Endpoint(
        name=name,
        url=fields["url"],
        keys=tuple(secrets),
        types=fields.get("events", frozenset(WebhookType)),
        channels=fields.get("channels", ()),
        batch=fields.get("batch", 1),
        from_start="from" in fields,
    )


def _field(name: str, key: str, given: Mapping[str, Any]) -> Any:
    if key not in given:
        raise ValueError(f"{name}: {key} is missing")
    try:
        return FIELDS[key](given[key])
    except ValueError as error:
        raise ValueError(f"{name}: {key}: {error}") from None


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise ValueError("expected a text")  # noqa: TRY004  # pydantic shows only a ValueError
    return given


def _url(given: object) -> str:
    url = _text(given)
    if not _URL.fullmatch(url) or not _is_endpoint(url):
        raise ValueError("expected an http or https URL without user and password, such as https://example.com/maru")
    return url


def _is_endpoint(url: str) -> bool:
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a port or an address that is none
        return False
    return known and "@" not in parts.netloc and not parts.fragment


def _secret(given: object) -> SigningKey:
    return SigningKey.parse(_text(given))


def _texts(given: object, of: str) -> list[str]:
    if isinstance(given, list) and 1 <= len(given) <= MAX_PATTERNS and all(isinstance(each, str) for each in given):
        return given
    raise ValueError(f"expected a list of 1 to {MAX_PATTERNS} {of}; leave it out for all")


def _types(given: object) -> frozenset[WebhookType]:
    return types_of(_texts(given, "types of events, such as 'message.*'"))


def _channels(given: object) -> tuple[str, ...]:
    patterns = _texts(given, "channel patterns, such as 'room:*'")
    for pattern in patterns:
        if not is_pattern(pattern):
            raise ValueError(f"{pattern!r} is no channel name or pattern")
    return tuple(patterns)


def _batch(given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= MAX_BATCH_EVENTS:
        raise ValueError(f"expected a whole number of events from 1 to {MAX_BATCH_EVENTS}")
    return given


def _from(given: object) -> str:
    if given != "start":
        raise ValueError("expected 'start', or leave it out: then an endpoint begins with the events to come")
    return "start"


_REQUIRED = ("url", "secret")
FIELDS: Mapping[str, Callable[[object], Any]] = {
    "name": _text,
    "url": _url,
    "secret": _secret,
    "previous_secret": _secret,
    "events": _types,
    "channels": _channels,
    "batch": _batch,
    "from": _from,
}
"""Each field of an endpoint, and the function that reads it."""

"""Parse single values: durations, sizes, lists, patterns, origins, PEM text and API keys."""

import json
import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from server.domain.channels import is_pattern
from server.domain.proxies import network

MIN_API_KEY_CHARS = 16
"""Few enough for a key made by hand, too many to be guessed."""

_UNITS_MS = {"ms": 1, "": 1_000, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZES = {"": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_SIZE = re.compile(r"(\d{1,15})\s*(KiB|MiB|GiB)?", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*(ms|s|m|h|d)?", re.ASCII)
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)  # RFC 3339, section 5.6
_URL = re.compile(r"[a-z][a-z0-9+.-]*:", re.ASCII | re.IGNORECASE)
_URL_TEXT = re.compile(r"[!-~]{1,2048}", re.ASCII)
_API_KEY = re.compile(rf"[!-~]{{{MIN_API_KEY_CHARS},256}}", re.ASCII)
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,200}")
_SERVER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[a-z0-9.:\[\]_-]+", re.ASCII)


def duration(value: object) -> float:
    """Read `30d`, `12h`, `5m`, `90s`, `250ms`, or a number of seconds. Return seconds. Raises `ValueError`.

    A part of a millisecond is refused: clients are told the ping interval in milliseconds.
    """
    found = _DURATION.fullmatch(str(value).strip()) if not isinstance(value, bool) else None
    if found is None:
        raise ValueError("expected a duration such as 90s, 12h or 30d (no unit: seconds)")
    milliseconds = Decimal(found[1]) * _UNITS_MS[found[2] or ""]
    if milliseconds != milliseconds.to_integral_value():
        raise ValueError("expected whole milliseconds")
    return int(milliseconds) / 1_000


def moment(value: object) -> datetime:
    """Read a date and time with its offset from UTC (RFC 3339). Raises `ValueError`."""
    try:
        found = datetime.fromisoformat(str(value)) if _MOMENT.fullmatch(str(value)) else None
    except ValueError:
        found = None
    if found is None:
        raise ValueError("expected a date and time of RFC 3339 such as 2027-01-31T12:00:00Z")
    return found


def size(value: object) -> int:
    """Read `64MiB`, `1GiB`, `512KiB` or a number of bytes. Return bytes. Raises `ValueError`."""
    found = _SIZE.fullmatch(str(value).strip()) if not isinstance(value, bool) else None
    if found is None:
        raise ValueError("expected a size such as 64MiB or 1GiB (no unit: bytes)")
    return int(found[1]) * _SIZES[(found[2] or "").upper()]


def plain(text: str) -> str:
    """Return a text unchanged. Raises `ValueError` if it has what files and shells add around a value: quotes, spaces,
    a line end."""
    if text != text.strip():
        raise ValueError("begins or ends with a space or a line end; remove it")
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`":
        raise ValueError("stands in quotes, which are taken as a part of the value; remove them")
    return text


def file_path(value: str | Path) -> Path:
    """Return a file's path. Raises `ValueError` if it is a URL, or SQLite's name for no file."""
    if _URL.match(str(value)) or str(value).startswith(":"):
        raise ValueError("expected a file's path such as data/maru.db, found a URL or a special name")
    return Path(value)


def development(value: object) -> object:
    """Return a word of `Development`. Also takes the words for yes and no."""
    word = str(int(value)) if isinstance(value, bool) else str(value).strip().lower()
    return {"true": "1", "yes": "1", "on": "1", "false": "0", "no": "0", "off": "0"}.get(word, word)


def lower(value: object) -> object:
    """Return a text in lower case, without the spaces around it."""
    return value.strip().lower() if isinstance(value, str) else value


def upper(value: object) -> object:
    """Return a text in upper case, without the spaces around it."""
    return value.strip().upper() if isinstance(value, str) else value


def servers(text: str) -> str:
    """Return addresses of brokers unchanged. Raises `ValueError`."""
    if not all(_SERVER.fullmatch(each) for each in text.split(",")):
        raise ValueError("expected brokers as host:port, joined by ','; no spaces, no URL")
    return text


def topic(text: str) -> str:
    """Return a name of a topic, or of a group, unchanged. Raises `ValueError`."""
    if not _TOPIC.fullmatch(text):
        raise ValueError("expected a topic's name: 1 to 200 letters, digits and ._-")
    return text


def items(value: object) -> object:
    """Split a list whose items are joined by commas. Empty items are left out."""
    if not isinstance(value, str):
        return value
    return tuple(item for item in (part.strip() for part in value.split(",")) if item)


def json_object(value: object) -> object:
    """Parse JSON. Raises `ValueError`. The field's type refuses JSON that is no object."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError('expected a JSON object such as {"room:*": ["join", "send"]}') from None


def pattern(text: str) -> str:
    """Return a channel name or pattern unchanged. Raises `ValueError` if it is neither."""
    if not is_pattern(text):
        raise ValueError(f"{text!r} is no channel name or pattern")
    return text


def origin(text: str) -> str:
    """Return an origin (RFC 6454) in lower case, or `*`. Raises `ValueError`."""
    if not _ORIGIN.fullmatch(text.lower()):
        raise ValueError("expected origins such as https://chat.example.com, or *; no path, no closing '/'")
    return text.lower()


def trusted(value: object) -> object:
    """Return a network of proxies. Raises `ValueError`."""
    if not isinstance(value, str):
        return value
    try:
        return network(value)
    except ValueError:
        raise ValueError("expected addresses or networks such as 10.0.0.0/8, joined by ','; no host names") from None


def api_key(value: SecretStr) -> SecretStr:
    """Return an API key unchanged. Raises `ValueError` if it is short, or has characters that a header can't hold."""
    if not _API_KEY.fullmatch(plain(value.get_secret_value())):
        raise ValueError(f"expected keys of {MIN_API_KEY_CHARS} to 256 printable ASCII characters, joined by ','")
    return value


def pem_text(value: str) -> str:
    """Return PEM text that is given itself (also with `\\n` for its line ends) or by its file's path.

    Raises `ValueError` if the file can't be read. The text is not judged: the verifier of tokens does that.
    """
    try:
        inline = value.lstrip().startswith("-----")
        return value.replace("\\n", "\n") if inline else Path(value).read_text("ascii")
    except (OSError, ValueError):
        raise ValueError("expected PEM text, or the path of a PEM file that can be read") from None


def http_url(value: str) -> str:
    """Return an http or https URL unchanged. Raises `ValueError`, which does not repeat it: it may hold a password."""
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError:
        raise ValueError("expected a URL such as https://id.example.com/jwks.json") from None
    if url.scheme not in ("http", "https") or not url.hostname or port == 0 or not _URL_TEXT.fullmatch(value):
        raise ValueError("expected a URL such as https://id.example.com/jwks.json")
    if "@" in url.netloc:
        raise ValueError("has a user or a password before its host; remove them")
    if url.fragment:
        raise ValueError("has a fragment ('#'), which no server is asked for; remove it")
    return value

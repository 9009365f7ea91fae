"""Read the file of `MARU_API_KEYS_FILE`: the keys of backends by name, as hashes, with their scopes.

Each error is a single line that names the entry at fault. It shows no hash: a weak key could be guessed from it.
"""

import re
from pathlib import Path
from typing import Any

from server.domain.backends import MAX_KEYS, ApiKey, Scope
from server.settings.json_text import MAX_FILE_BYTES, read_object

_EXPECTED = 'a JSON object such as {"shop": {"key_sha256": "<64 hex digits>", "scopes": ["publish"]}}'
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_FIELDS = {"key_sha256", "scopes"}


def read(path: Path) -> list[ApiKey]:
    """Return the keys of a file. Raises `ValueError`."""
    try:
        if path.is_fifo():  # it would be waited for, perhaps for ever
            raise ValueError("expected a file, which can be read again; this is a pipe")
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"the file can't be read ({error.strerror})") from None
    if len(raw) > MAX_FILE_BYTES:
        raise ValueError(f"the file is larger than {MAX_FILE_BYTES} bytes")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8") from None
    return _keys(read_object(text, _EXPECTED))


def _keys(given: dict[str, Any]) -> list[ApiKey]:
    if len(given) > MAX_KEYS:
        raise ValueError(f"more than {MAX_KEYS} keys")
    found: dict[bytes, ApiKey] = {}
    for number, (name, entry) in enumerate(given.items(), 1):
        if not _NAME.fullmatch(name):  # not shown: it may be a key that stands in the wrong place
            raise ValueError(f"the name of key {number} is none; expected 1 to 64 letters, digits, '.', '_' and '-'")
        key = _key(name, entry)
        if key.digest in found:
            raise ValueError(f"{found[key.digest].name} and {name} are the same key")
        found[key.digest] = key
    return list(found.values())


def _key(name: str, entry: object) -> ApiKey:
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise ValueError(f"{name}: expected an object with key_sha256 and scopes, and nothing else")
    digest, scopes = entry["key_sha256"], entry["scopes"]
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise ValueError(f"{name}: key_sha256: expected 64 hex digits, of: printf %s KEY | sha256sum")
    if not isinstance(scopes, list) or not scopes or not all(scope in list(Scope) for scope in scopes):
        raise ValueError(f"{name}: scopes: expected a list of {', '.join(Scope)}, at least one of them")
    return ApiKey(name, bytes.fromhex(digest), frozenset(map(Scope, scopes)))

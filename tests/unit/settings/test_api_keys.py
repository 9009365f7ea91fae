"""The file of API keys: strict, and its errors show no key and no hash."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from server.bootstrap.api_keys import read_keys
from server.domain.backends import MAX_KEYS, Scope
from server.settings import api_keys
from server.settings.errors import BadSetting
from server.settings.model import Settings
from tests.harness.server import SECRET

CANARY = "canary-0123456789-canary"
HASH = hashlib.sha256(CANARY.encode()).hexdigest()
GOOD = {"key_sha256": HASH, "scopes": ["publish"]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the keys stand."""
    return tmp_path / "keys.json"


def settings(file: Path, *listed: str) -> Settings:
    """Settings with a file, and keys beside it."""
    keys = tuple(SecretStr(key) for key in listed)
    return Settings(jwt_secret=SecretStr(SECRET), api_keys=keys, api_keys_file=file)


def test_keys_are_read(file: Path) -> None:
    """Names, hashes in either case, scopes; those of the list come first, and have all scopes."""
    digest = hashlib.sha256(b"desk").hexdigest()
    desk = {"key_sha256": digest.upper(), "scopes": ["read", "admin"]}
    file.write_text(json.dumps({"shop": GOOD, "desk.1": desk}))
    found = {key.name: (key.digest.hex(), set(key.scopes)) for key in api_keys.read(file)}
    assert found == {
        "shop": (HASH, {Scope.PUBLISH}),
        "desk.1": (digest, {Scope.READ, Scope.ADMIN}),
    }
    both = read_keys(settings(file, "a-key-of-the-list", "another-of-the-list"))
    assert [key.name for key in both] == ["key-1", "key-2", "shop", "desk.1"]
    assert both[0].scopes == frozenset(Scope)


BAD: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "expected a JSON object"),
    "no object": ("[]", "expected a JSON object"),
    "twice": (f'{{"shop": {json.dumps(GOOD)}, "shop": {json.dumps(GOOD)}}}', "'shop' stands there twice"),
    "a key as its name": ({CANARY + "!": GOOD}, "the name of key 1 is none"),
    "no name": ({"": GOOD}, "the name of key 1 is none"),
    "a list": ({"shop": [HASH]}, "shop: expected an object with key_sha256 and scopes"),
    "the key itself": ({"shop": {"key": CANARY, "scopes": ["read"]}}, "shop: expected an object with key_sha256"),
    "a field too many": ({"shop": GOOD | {"admin": True}}, "shop: expected an object with key_sha256 and scopes"),
    "no hash": ({"shop": GOOD | {"key_sha256": CANARY}}, "shop: key_sha256: expected 64 hex digits"),
    "a number": ({"shop": GOOD | {"key_sha256": 5}}, "shop: key_sha256: expected 64 hex digits"),
    "no scope": ({"shop": GOOD | {"scopes": []}}, "shop: scopes: expected a list of publish, read, admin"),
    "another scope": ({"shop": GOOD | {"scopes": ["write"]}}, "shop: scopes: expected a list of publish"),
    "scopes as text": ({"shop": GOOD | {"scopes": "publish"}}, "shop: scopes: expected a list of publish"),
    "scopes in a list": ({"shop": GOOD | {"scopes": [["publish"]]}}, "shop: scopes: expected a list of publish"),
    "one key twice": ({"shop": GOOD, "desk": GOOD}, "shop and desk are the same key"),
    "too many": ({f"k{number}": GOOD for number in range(MAX_KEYS + 1)}, f"more than {MAX_KEYS} keys"),
    "too large": (" " * (1 << 20) + "{}", "the file is larger than 1048576 bytes"),
    "no text": (b"\xff", "the file is not UTF-8"),
}


@pytest.mark.parametrize(("given", "problem"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused(file: Path, given: Any, problem: str) -> None:
    """With a line that names the entry, and shows neither a key nor a hash."""
    text = given if isinstance(given, str | bytes) else json.dumps(given)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadSetting) as refused:
        read_keys(settings(file))
    assert str(refused.value).startswith(f"MARU_API_KEYS_FILE: {problem}")
    assert CANARY not in str(refused.value)
    assert HASH not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused(file: Path) -> None:
    """As one that can't be read."""
    with pytest.raises(BadSetting, match=r"MARU_API_KEYS_FILE: the file can't be read \(No such file or directory\)"):
        read_keys(settings(file))


def test_a_pipe_is_refused(file: Path) -> None:
    """It would be waited for, and no signal would have the keys read again."""
    os.mkfifo(file)
    with pytest.raises(BadSetting, match=r"MARU_API_KEYS_FILE: expected a file"):
        read_keys(settings(file))


@pytest.mark.parametrize(
    ("name", "key", "problem"), [("shop", CANARY, "shop is also in"), ("key-1", "other", "key-1 is how a key of")]
)
def test_a_key_stands_in_one_place(file: Path, name: str, key: str, problem: str) -> None:
    """Else it would not be clear which scopes it has, or which key a name means."""
    file.write_text(json.dumps({name: {"key_sha256": hashlib.sha256(key.encode()).hexdigest(), "scopes": ["read"]}}))
    with pytest.raises(BadSetting, match=problem):
        read_keys(settings(file, CANARY))

"""The strength of secrets: what is sure to be found is refused, what may be is doubted, what is random is taken."""

import ast
import base64
import random
import string
import uuid
from collections.abc import Iterator
from functools import cache
from random import Random

import pytest

from server.adapters.tokens.keys import MIN_SECRET_BYTES
from server.adapters.tokens.strength import MIN_BITS, PUBLISHED, doubt, entropy, weakness
from tests.harness.server import ROOT

GUESSED = (
    "a" * 32,
    "0123456789abcdef" * 2,
    "fedcba9876543210" * 2,
    "12345678901234567890123456789012",
    "abcdefghijklmnopqrstuvwxyz012345",
    "qwertyuiopasdfghjklzxcvbnm123456",
    "password" * 5,
    "x" * 100_000,
    "",
)

DOUBTED = (
    "ab" * 20,
    "abc123" * 8,
    "aaaabbbbccccddddeeeeffffgggghhhh",
    "31415926535897932384626433832795",
    "deadbeefcafebabedeadbeefcafebabe",
    "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6",
    "Password123" * 4,
    "correct horse battery staple correct horse",
    "this is my very long secret nobody knows",
    "ThisIsMyVeryLongSecretNobodyKnows123",
    "replace-me-with-something-secure-please",
    "canary-canary-canary-canary-canary",
)


@pytest.mark.parametrize("secret", GUESSED, ids=lambda secret: secret[:40])
def test_a_secret_that_can_be_guessed(secret: str) -> None:
    """One character, sequences, rows of keys and words of secrets, however long."""
    problem = weakness(secret)
    assert problem is not None
    assert problem.startswith("can be guessed (about ")
    assert secret[:8] not in problem or not secret


@pytest.mark.parametrize("secret", DOUBTED, ids=lambda secret: secret[:40])
def test_a_secret_that_may_be_guessed(secret: str) -> None:
    """Repeats and sentences: whoever made them may know of chance in them that an estimate does not see."""
    assert weakness(secret) is None
    problem = doubt(secret)
    assert problem is not None
    assert problem.startswith("it may be guessed (about ")


@pytest.mark.parametrize("known", PUBLISHED)
@pytest.mark.parametrize("change", ["{}", "{}" + 32 * "0", "x{}x", "{}{}"])
def test_a_secret_that_can_be_read(known: str, change: str) -> None:
    """Also padded, repeated, in capitals or with other signs between its words."""
    for secret in (change.format(known, known), change.format(known, known).upper().replace("-", "_")):
        assert weakness(secret) == "published, so anybody has it"


@cache
def made(seed: int) -> dict[str, str]:
    """Secrets as they are usually made."""
    random = Random(seed)
    raw = random.randbytes
    return {
        "openssl rand -hex 32": raw(32).hex(),
        "openssl rand -hex 16": raw(16).hex(),
        "in capitals": raw(32).hex().upper(),
        "openssl rand -base64 32": base64.b64encode(raw(32)).decode(),
        "openssl rand -base64 24": base64.b64encode(raw(24)).decode(),
        "token_urlsafe": base64.urlsafe_b64encode(raw(32)).decode().rstrip("="),
        "base32": base64.b32encode(raw(32)).decode(),
        "two UUIDs": f"{uuid.UUID(bytes=raw(16), version=4)}{uuid.UUID(bytes=raw(16), version=4)}",
        "a password manager's": "".join(random.choices(string.ascii_letters + string.digits, k=40)),
        "with signs": "".join(random.choices(string.printable[:94], k=32)),
        "known, and random": f"your-256-bit-secret-{raw(32).hex()}",
    }


@pytest.mark.parametrize("name", made(0))
def test_a_random_secret_is_taken(name: str) -> None:
    """Hundreds of each; of a thousand that have no bit to spare some are doubted: they have a repeat by chance."""
    spare = name != "openssl rand -hex 16"
    secrets = [made(seed)[name] for seed in range(400 if spare else 1_000)]
    assert [secret for secret in secrets if weakness(secret)] == []
    doubted = [secret for secret in secrets if doubt(secret)]
    assert len(doubted) <= (0 if spare else 4), doubted


def test_longer_is_not_weaker() -> None:
    """Chance that is appended to anything is counted."""
    for secret in (*GUESSED[:-2], *DOUBTED):
        assert entropy(secret + random.randbytes(32).hex()) >= MIN_BITS


def signs(name: object) -> bool:
    """Say whether a name is that of a secret."""
    return name in {"SECRET", "PRODUCTION", "MARU_JWT_SECRET", "MARU_CLUSTER_SECRET"}


def texts(node: ast.AST) -> Iterator[str]:
    """Yield the texts that a statement, or an object, gives to the name of a secret."""
    pairs: list[tuple[object, ast.expr]] = []
    if isinstance(node, ast.Assign):
        pairs = [(target.id, node.value) for target in node.targets if isinstance(target, ast.Name)]
    elif isinstance(node, ast.Dict):
        keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
        pairs = list(zip(keys, node.values, strict=True))
    for name, value in pairs:
        if signs(name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value


def test_no_secret_of_this_repository_is_taken() -> None:
    """Each text that stands for a secret in a test or a tool, and could be one by its length, is refused or doubted."""
    paths = [path for folder in ("tests", "bench", "loadtest") for path in (ROOT / folder).rglob("*.py")]
    nodes = (node for path in paths for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    long = {text for node in nodes for text in texts(node) if len(text) >= MIN_SECRET_BYTES}
    assert len(long) >= 3
    assert {text for text in long if not (weakness(text) or doubt(text))} == set()

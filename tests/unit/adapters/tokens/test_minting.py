"""Minting: tokens that the server accepts."""

from typing import Any

import jwt
import pytest

from server.adapters.tokens.minting import mint
from server.domain.identity import Action
from tests.doubles.json_web_tokens import NOW, SECRET, verifier


async def test_mint_is_what_verify_takes() -> None:
    """A minted token comes back as what was asked for, with the issuer and audience of the server."""
    grants = {"room:*": frozenset({Action.JOIN, Action.SEND}), "lobby": frozenset({Action.JOIN})}
    text = mint(SECRET, user="alice", name="Alice", grants=grants, ttl_s=1.5, now_s=NOW, issuer="maru", audience="chat")
    identity = await verifier(issuer="maru", audience="chat").verify(text)
    assert (identity.user, identity.name) == ("alice", "Alice")
    assert identity.grants == grants
    assert identity.expires_at == int(NOW * 1_000) + 1_500
    assert identity.token_id
    claims = jwt.decode(text, options={"verify_signature": False})
    assert set(claims) == {"sub", "name", "iat", "exp", "jti", "channels", "iss", "aud"}
    assert claims["iat"] == NOW


async def test_minted_tokens_differ_and_may_have_no_grants() -> None:
    """Each has a `jti` of its own; without grants the server's defaults hold."""
    defaults = {"lobby": frozenset({Action.JOIN})}
    first, second = (mint(SECRET, user="bob", ttl_s=60, now_s=NOW) for _ in range(2))
    assert first != second
    assert (await verifier(default_grants=defaults).verify(first)).grants == defaults


def test_mint_refuses_what_the_server_would() -> None:
    """A bad user, name, pattern or lifetime is said when minting."""
    good: dict[str, Any] = {"user": "bob", "ttl_s": 60, "now_s": NOW}
    bad: dict[str, Any]
    for bad in ({"user": ""}, {"user": "a\nb"}, {"name": "x" * 129}, {"grants": {"Room": []}}, {"ttl_s": 1e12}):
        with pytest.raises(ValueError, match="the token's"):
            mint(SECRET, **(good | bad))

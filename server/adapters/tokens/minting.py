"""Mint tokens for development."""

import uuid
from collections.abc import Collection, Mapping
from typing import Any

from jwt import encode as jwt_encode

from server.adapters.tokens.claims import grant_pattern, numeric_date, optional_text, user_id
from server.adapters.tokens.keys import secret_key
from server.domain.errors import Unauthenticated
from server.domain.identity import MAX_NAME_CHARS, Action


def mint(  # noqa: PLR0913 a key and the claims that are signed with it
    secret: str,
    *,
    user: str,
    name: str | None = None,
    grants: Mapping[str, Collection[Action]] | None = None,
    ttl_s: float,
    now_s: float,
    issuer: str | None = None,
    audience: str | None = None,
) -> str:
    """Sign an HS256 token that `JwtVerifier` accepts until `now_s + ttl_s`.

    Without `grants` the token has no claim `channels`, so that the server's default grants apply. Raises `ValueError`
    if the server would refuse the token.
    """
    key = secret_key(secret)
    try:
        user_id(user)
        claims: dict[str, Any] = {
            "sub": user,
            "iat": int(now_s),
            "exp": round(now_s + ttl_s, 3),
            "jti": uuid.uuid4().hex,
        }
        claims |= {
            claim: text for claim, text in (("name", name), ("iss", issuer), ("aud", audience)) if text is not None
        }
        optional_text(claims, "name", MAX_NAME_CHARS)
        numeric_date(claims, "exp")
        if grants is not None:
            claims["channels"] = {grant_pattern(pattern): sorted(actions) for pattern, actions in grants.items()}
    except Unauthenticated as error:
        raise ValueError(error.message) from None
    return jwt_encode(claims, key.material, key.algorithm)

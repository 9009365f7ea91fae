"""Keys and tokens as the settings say: verifying, making, and the key of the affinity cookie."""

import time

from server.adapters.tokens import minting
from server.adapters.tokens.jwt_verifier import JwtVerifier
from server.adapters.tokens.keys import public_key, secret_key
from server.api.affinity import derive_key
from server.domain.identity import Grants
from server.settings.errors import StartRefused
from server.settings.model import Settings


def verifier(settings: Settings) -> JwtVerifier:
    """What judges tokens."""
    if settings.jwt_public_key is not None:
        key = public_key(settings.jwt_public_key)
    else:
        key = secret_key(signing_secret(settings))
    return JwtVerifier(
        key,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        leeway_s=settings.jwt_leeway,
        default_grants=settings.default_grants,
    )


def mint(settings: Settings, user: str, ttl_s: float, name: str | None = None, grants: Grants | None = None) -> str:
    """Make a token that this server takes. Raises `ValueError` where it would not, `StartRefused` without a secret."""
    return minting.mint(
        signing_secret(settings),
        user=user,
        name=name,
        grants=grants,
        ttl_s=ttl_s,
        now_s=time.time(),
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
    )


def signing_secret(settings: Settings) -> str:
    """The HS256 secret. Raises `StartRefused` where tokens are signed elsewhere."""
    if settings.jwt_secret is None:
        raise StartRefused("MARU_JWT_SECRET: not set, so this server can check tokens but not make them")
    return settings.jwt_secret.get_secret_value()


def affinity_key(settings: Settings) -> bytes:
    """The same on every replica. Of a public key it is no secret: who forges a cookie then can choose a place."""
    material = settings.jwt_secret.get_secret_value() if settings.jwt_secret else settings.jwt_public_key
    assert material is not None  # the settings ask for one, and development makes one
    return derive_key(material.encode())

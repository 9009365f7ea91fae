"""Tokens as the settings say: verifying and making."""

import time

import structlog

from server.adapters.tokens import minting
from server.adapters.tokens.jwt_verifier import JwtVerifier
from server.adapters.tokens.key_source import FixedKeys
from server.bootstrap.keys import signing_secret, token_keys
from server.domain.identity import Grants
from server.ports.metrics import TokenMetrics
from server.settings.model import Settings

_log = structlog.get_logger("maru.server")


def tell_of_any_issuer(settings: Settings) -> None:
    """Warn, at the start, if every token of the key is taken, also those that its owner made for other services."""
    if not (settings.jwt_issuer or settings.jwt_audience or settings.dev):
        _log.warning(
            "tokens.any_issuer",
            problem="every token that is signed with the key is taken, whatever service it was made for",
            remedy="set MARU_JWT_AUDIENCE or MARU_JWT_ISSUER to what your tokens carry as 'aud' or 'iss'",
        )


def verifier(settings: Settings, metrics: TokenMetrics) -> JwtVerifier:
    """Make the verifier of tokens."""
    return JwtVerifier(
        FixedKeys(*token_keys(settings)),
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        leeway_s=settings.jwt_leeway,
        default_grants=settings.default_grants,
        max_lifetime_s=settings.jwt_max_lifetime,
        metrics=metrics,
    )


def mint(settings: Settings, user: str, ttl_s: float, name: str | None = None, grants: Grants | None = None) -> str:
    """Make a token that this server accepts. Raises `ValueError` if it would not, `StartRefused` without a secret."""
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

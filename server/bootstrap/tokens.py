"""Tokens as the settings say: verifying and making."""

import time
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import structlog

from server.adapters.tokens import minting
from server.adapters.tokens.issuer_keys import IssuerKeys
from server.adapters.tokens.jwks_fetch import fetcher
from server.adapters.tokens.jwt_verifier import JwtVerifier
from server.adapters.tokens.key_source import FixedKeys, KeySource
from server.application.sessions.sessions import Sessions
from server.bootstrap.keys import signing_secret, token_keys
from server.domain.errors import TokenRevoked
from server.domain.identity import Grants
from server.ports.token_verifier import TokenMetrics
from server.settings.model import VERSION, Settings

_log = structlog.get_logger("maru.server")


def tell_of_any_issuer(settings: Settings) -> None:
    """Warn, at the start, if every token of the key is taken, also those that its owner made for other services."""
    if not (settings.jwt_issuer or settings.jwt_audience or settings.dev):
        _log.warning(
            "tokens.any_issuer",
            problem="every token that is signed with the key is taken, whatever service it was made for",
            remedy="set MARU_JWT_AUDIENCE or MARU_JWT_ISSUER to what your tokens carry as 'aud' or 'iss'",
        )


class Tokens:
    """The verifier of tokens, and the issuer of its keys, if they come from one."""

    def __init__(self, settings: Settings, metrics: TokenMetrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = _issuer(settings, metrics, clock)
        self.verifier = _verifier(settings, self._issuer or FixedKeys(*token_keys(settings)), metrics)

    def loops(self, sessions: Sessions) -> tuple[Coroutine[Any, Any, None], ...]:
        """The task that keeps the keys up to date, and ends the sessions of withdrawn keys."""
        if self._issuer is None:
            return ()

        async def end(withdrawn: frozenset[str]) -> None:
            self.verifier.forget()
            error = TokenRevoked("the issuer has withdrawn the key of the session's token")
            ended = await sessions.end_where(lambda identity: identity.key_id in withdrawn, error)
            _log.warning("jwks.withdrawn", keys=len(withdrawn), sessions=ended)

        self._issuer.hear(end)
        return (self._issuer.run(),)

    async def ready(self) -> None:
        """Wait until there are keys."""
        if self._issuer is not None:
            await self._issuer.first.wait()

    @property
    def known(self) -> bool:
        """Say whether there are keys."""
        return self._issuer is None or bool(self._issuer.good)

    @property
    def age_s(self) -> float:
        """How old the issuer's keys are; 0 if they come from none."""
        return 0.0 if self._issuer is None else self._issuer.age_s

    @property
    def count(self) -> int:
        """How many keys the issuer has; 0 if they come from none."""
        return 0 if self._issuer is None else len(self._issuer.good)


def _issuer(settings: Settings, metrics: TokenMetrics, clock: Callable[[], float]) -> IssuerKeys | None:
    if settings.jwt_jwks_url is None:
        return None
    fetch = fetcher(settings.jwt_jwks_url, f"Maru/{VERSION}")
    return IssuerKeys(fetch, clock, Random(), metrics)  # noqa: S311  # jitter


def _verifier(settings: Settings, keys: KeySource, metrics: TokenMetrics) -> JwtVerifier:
    return JwtVerifier(
        keys,
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

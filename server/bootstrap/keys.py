"""The key that tokens are checked with, as the settings say."""

from pathlib import Path

import structlog
from pydantic import SecretStr

from server.adapters.tokens.keys import MIN_SECRET_BYTES, Key, public_keys, secret_key
from server.adapters.tokens.strength import doubt, weakness
from server.domain.outcomes import KeyOrigin
from server.process.dev_secret import SecretUnusable, kept_secret
from server.settings.errors import BadSetting, StartRefused
from server.settings.model import Settings

DEV_SECRET_FILE = ".maru-dev-secret"  # noqa: S105 a file's name
"""Stands beside the SQLite file."""

REMEDY = "make one: openssl rand -hex 32"

_log = structlog.get_logger("maru.server")


def check_key(settings: Settings) -> None:
    """Raise `BadSetting` if the settings name a key or a secret that is unfit. Development may have a weak secret."""
    if settings.jwt_secret or settings.jwt_public_key:
        token_keys(settings)
    for variable, secret in _secrets(settings):
        _check_secret(variable, secret, weak=bool(settings.dev))


def tell_of_doubts(settings: Settings) -> None:
    """Warn, at the start, of secrets that may be guessed. Development's own is made by chance."""
    for variable, secret in () if settings.dev else _secrets(settings):
        if (problem := doubt(secret)) is not None:
            _log.warning("secret.doubted", variable=variable, problem=problem, remedy=REMEDY)


def _secrets(settings: Settings) -> list[tuple[str, str]]:
    """Return the secrets that are set, with their variables."""
    known = (
        ("MARU_JWT_SECRET", settings.jwt_secret),
        ("MARU_JWT_SECRET_PREVIOUS", settings.jwt_secret_previous),
        ("MARU_CLUSTER_SECRET", settings.cluster_secret),
    )
    return [(variable, given.get_secret_value()) for variable, given in known if given is not None]


def _check_secret(variable: str, secret: str, *, weak: bool) -> None:
    length = len(secret.encode())
    problem = f"{length} bytes, expected at least {MIN_SECRET_BYTES}" if length < MIN_SECRET_BYTES else None
    if not weak:
        problem = problem or weakness(secret)
    if problem is not None:
        raise BadSetting(f"{variable}: {problem}; {REMEDY}")


def token_keys(settings: Settings) -> list[Key]:
    """Return the keys that tokens are checked with, the current key first. Raises `BadSetting` if one is unfit."""
    variable = "MARU_JWT_SECRET" if settings.jwt_public_key is None else "MARU_JWT_PUBLIC_KEY"
    try:
        if settings.jwt_public_key is not None:
            return public_keys(settings.jwt_public_key)
        keys = [secret_key(signing_secret(settings))]
        if settings.jwt_secret_previous is not None:
            variable = "MARU_JWT_SECRET_PREVIOUS"
            until = settings.jwt_secret_previous_until
            until_s = None if until is None else until.timestamp()
            keys.append(secret_key(settings.jwt_secret_previous.get_secret_value(), KeyOrigin.PREVIOUS, until_s))
        return keys
    except ValueError as error:
        raise BadSetting(f"{variable}: {error}") from None


def signing_secret(settings: Settings) -> str:
    """Return the secret that tokens are signed with. Raises `StartRefused` if tokens are signed elsewhere."""
    if settings.jwt_secret is None:
        raise StartRefused("MARU_JWT_SECRET: not set, so this server can check tokens but not make them")
    return settings.jwt_secret.get_secret_value()


def dev_secret_file(settings: Settings) -> Path | None:
    """Return the file of the development secret; None if the settings are not for development."""
    return settings.sqlite_path.parent / DEV_SECRET_FILE if settings.dev else None


def with_dev_secret(settings: Settings) -> Settings:
    """Return the settings; those of development with its own secret as the only key, whatever else they name: what it
    signs is worth nothing elsewhere. Raises `StartRefused`."""
    path = dev_secret_file(settings)
    if path is None:
        return settings
    try:
        secret = kept_secret(path)
    except SecretUnusable as error:
        raise StartRefused(str(error)) from None
    others = dict.fromkeys(("jwt_secret_previous", "jwt_public_key", "jwt_jwks_url"))
    return settings.model_copy(update={"jwt_secret": SecretStr(secret), **others})

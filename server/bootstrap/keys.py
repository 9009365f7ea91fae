"""The key that tokens are checked with, as the settings say."""

from pathlib import Path

from pydantic import SecretStr

from server.adapters.tokens.keys import Key, public_key, secret_key
from server.process.dev_secret import SecretUnusable, kept_secret
from server.settings.errors import BadSetting, StartRefused
from server.settings.model import Settings

DEV_SECRET_FILE = ".maru-dev-secret"  # noqa: S105 a file's name
"""Stands beside the SQLite file."""


def check_key(settings: Settings) -> None:
    """Raise `BadSetting` if the settings name a key that is unfit."""
    if settings.jwt_secret or settings.jwt_public_key:
        token_key(settings)


def token_key(settings: Settings) -> Key:
    """Return the key that tokens are checked with. Raises `BadSetting` if it is unfit."""
    variable = "MARU_JWT_SECRET" if settings.jwt_public_key is None else "MARU_JWT_PUBLIC_KEY"
    try:
        if settings.jwt_public_key is not None:
            return public_key(settings.jwt_public_key)
        return secret_key(signing_secret(settings))
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
    return settings.model_copy(update={"jwt_secret": SecretStr(secret), "jwt_public_key": None})

"""The key that tokens are checked with, as the settings say."""

from pathlib import Path

from pydantic import SecretStr

from server.process.dev_secret import SecretUnusable, kept_secret
from server.settings.errors import StartRefused
from server.settings.model import Settings

DEV_SECRET_FILE = ".maru-dev-secret"  # noqa: S105 a file's name
"""Stands beside the SQLite file."""


def dev_secret_file(settings: Settings) -> Path | None:
    """Return the file of the development secret; None if the settings name a key, or are not for development."""
    if not settings.dev or settings.jwt_secret or settings.jwt_public_key:
        return None
    return settings.sqlite_path.parent / DEV_SECRET_FILE


def with_dev_secret(settings: Settings) -> Settings:
    """Return the settings with the development secret, if they need one. Raises `StartRefused`."""
    path = dev_secret_file(settings)
    if path is None:
        return settings
    try:
        secret = kept_secret(path)
    except SecretUnusable as error:
        raise StartRefused(str(error)) from None
    return settings.model_copy(update={"jwt_secret": SecretStr(secret)})

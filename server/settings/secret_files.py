"""Secrets that stand in files, as orchestrators mount them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.settings import values

FROM_FILE = (
    "jwt_secret",
    "jwt_secret_previous",
    "jwt_public_key",
    "redis_url",
    "postgres_url",
    "postgres_listen_url",
    "kafka_password",
    "nats_url",
    "cluster_secret",
    "webhooks",
    "hook_secret",
    "hook_secret_previous",
)
"""Fields whose secret may stand in a file, named by the variable with `_FILE` at its end."""

MAX_SECRET_BYTES = 64 * 1024
"""Of a file that holds a secret."""


def read(given: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the fields with the secrets in place of the variables that name their files. Raises `ValueError`, which
    names the variable."""
    found = dict(given)
    for name in FROM_FILE:
        path, variable = given.get(f"{name}_file"), prefix + name.upper()
        if path is None:
            continue
        if given.get(name) is not None:
            raise ValueError(f"{variable}, {variable}_FILE: both are set, expected one of them")
        try:
            found[name] = _secret_in(values.file_path(values.plain(str(path))))
        except ValueError as error:
            raise ValueError(f"{variable}_FILE: {error}") from None
    return found


def _secret_in(path: Path) -> str:
    """Return the text of a secret's file, without a line end at its end. Raises `ValueError`, which does not repeat the
    text."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SECRET_BYTES + 1).decode()  # no more: a device may have no end
    except OSError as error:
        raise ValueError(f"the file can't be read ({error.strerror})") from None
    except ValueError:
        raise ValueError("the file is not UTF-8") from None
    if len(text) > MAX_SECRET_BYTES:
        raise ValueError(f"the file is larger than {MAX_SECRET_BYTES} bytes")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError("the file is empty")
    return text

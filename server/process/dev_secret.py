"""Keep the secret that signs tokens in development, so that open pages have working tokens after a restart."""

import os
import secrets
from pathlib import Path

SECRET_BYTES = 32
"""Of randomness, written as twice as many hexadecimal digits."""

MIN_CHARS = 32
"""A file with less holds no secret of ours."""

MAX_CHARS = 1_024
"""A file is read up to here."""


class SecretUnusable(Exception):
    """The file can't be read or written, or holds no secret. The text is a single line that says what to do."""


def kept_secret(path: Path) -> str:
    """Return the secret that the file holds; write a new secret if there is no file. Raises `SecretUnusable`."""
    try:
        secret = _read(path) or _write(path)
    except OSError as error:
        raise SecretUnusable(
            f"{path}: can't keep the development secret ({error.strerror}); set MARU_JWT_SECRET"
        ) from None
    if len(secret) < MIN_CHARS:
        raise SecretUnusable(f"{path}: holds no secret; delete it, and the next start makes a new one")
    return secret


def _read(path: Path) -> str | None:
    """Return the file's text; None if there is no file. A link is not followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as file:
        if os.fstat(descriptor).st_mode & 0o077:
            raise SecretUnusable(f"{path}: others may read it; delete it, and the next start makes a new one")
        return file.read(MAX_CHARS).strip()


def _write(path: Path) -> str:
    """Write a new secret, whole or not at all. If another start was faster, return the secret that it wrote."""
    secret, draft = secrets.token_hex(SECRET_BYTES), path.with_name(f"{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{secret}\n")
        os.link(draft, path)
    except FileExistsError:
        return _read(path) or ""
    finally:
        draft.unlink(missing_ok=True)
    return secret

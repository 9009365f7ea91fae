"""Read JSON objects and lists that stand in a variable, or in a file that it names."""

import json
from pathlib import Path
from typing import Any, TypeVar

MAX_FILE_BYTES = 1 << 20
"""Of a file with JSON: some ten thousand rules fit."""

Read = TypeVar("Read")


def read_object(text: str, expected: str) -> dict[str, Any]:
    """Parse a JSON object. Raises `ValueError`, also if a name stands in an object twice."""
    return _read(text, dict, expected)


def read_list(text: str, expected: str) -> list[Any]:
    """Parse a JSON list. Raises `ValueError`, as above."""
    return _read(text, list, expected)


def _read(text: str, kind: type[Read], expected: str) -> Read:
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        doubled = str(error) if isinstance(error, _DoubleError) else None
        raise ValueError(doubled or f"expected {expected}") from None
    if not isinstance(found, kind):
        raise ValueError(f"expected {expected}")  # noqa: TRY004  # pydantic shows only a ValueError
    return found


def text_or_file(value: str) -> str:
    """Return JSON text that is given itself, or by its file's path. Raises `ValueError` if the file can't be read."""
    return value if value.lstrip().startswith(("{", "[")) else _text_of(Path(value.strip()))


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)  # no more: a device may have no end
        if len(text) > MAX_FILE_BYTES:
            raise ValueError(f"the file {str(path)!r} is larger than {MAX_FILE_BYTES} bytes")
        return text.decode("utf-8")
    except (OSError, UnicodeDecodeError):
        raise ValueError(
            f"expected JSON, or the path of a JSON file that can be read; {str(path)!r} is neither"
        ) from None


class _DoubleError(ValueError):
    """A name stands twice in an object, so that it is not clear what is meant."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _DoubleError(f"{next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return found

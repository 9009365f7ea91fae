"""Read the settings from the environment and a `.env` file (the environment wins), and show them.

A variable that is unknown or bad is a `BadSetting`, whose line names the variable, says what is wrong and what
is expected, and never shows a secret.
"""

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from dotenv.parser import parse_stream
from pydantic import ValidationError

from server.domain.gcra import Rate
from server.domain.rules import Rule
from server.settings.errors import BadSetting
from server.settings.model import PREFIX, Settings
from server.settings.rules import shown
from server.settings.secret_files import FROM_FILE

ENV_FILE = Path(".env")
"""In the working directory."""


def load(env_file: Path = ENV_FILE) -> Settings:
    """Read the settings from the environment and `env_file`. Raises `BadSetting`."""
    written = _names_in(env_file)
    _refuse_unknown([*os.environ, *written])
    try:
        return Settings(_env_file=env_file)
    except ValidationError as error:
        raise BadSetting(_first_fault(error)) from None


class Entry(NamedTuple):
    """A setting as `config` prints it; a private value is masked."""

    variable: str
    value: str
    origin: str


def describe(settings: Settings, env_file: Path = ENV_FILE) -> Iterator[Entry]:
    """Yield each setting with its origin: `environment`, the file's name, or `default`."""
    present = {name.upper() for name, value in os.environ.items() if value}
    written = {name.upper() for name in _names_in(env_file)}
    for name, field in Settings.model_fields.items():
        variable = PREFIX + name.upper()
        if name in FROM_FILE and f"{variable}_FILE" in present | written:
            origin = f"{variable}_FILE"
        elif variable in present:
            origin = "environment"
        else:
            origin = str(env_file) if variable in written else "default"
        value = getattr(settings, name)
        if name == "limits" and not value:
            value = "off"
        yield Entry(variable, _shown(value) if field.repr or not value else "********", origin)


def _shown(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(int(value))
        case float():
            return f"{value:.15g}"
        case datetime():
            return value.isoformat()
        case tuple():
            return ",".join(map(str, value))
        case Mapping():
            return json.dumps(_as_json(value))
        case _:
            return str(value)


def _as_json(value: object) -> object:
    match value:
        case Mapping():
            return {str(name): _as_json(item) for name, item in value.items()}
        case frozenset():
            return sorted(value)
        case Rate(per_s, burst):
            return [per_s, burst]
        case Rule():
            return shown(value)
        case _:
            return value


def _names_in(env_file: Path) -> list[str]:
    """Return the variables that the file sets. Raises `BadSetting` if the file, or a line of it, can't be read."""
    if not env_file.is_file():
        return []
    try:
        with env_file.open(encoding="utf-8") as stream:
            # python-dotenv's documented functions only log a line that they can't read; its parser returns it.
            bindings = list(parse_stream(stream))
    except OSError as error:
        raise BadSetting(f"{env_file}: can't be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise BadSetting(f"{env_file}: expected UTF-8") from None
    for binding in bindings:
        if binding.error:
            raise BadSetting(f"{env_file}, line {binding.original.line}: expected NAME=value")
    return [binding.key for binding in bindings if binding.key and binding.value]


def _refuse_unknown(names: list[str]) -> None:
    """Raise `BadSetting` if a name has our prefix, and is not known."""
    known = {name.upper() for name in Settings.model_fields}
    ours = {name for name in names if name.upper().startswith(PREFIX)}
    unknown = sorted(name for name in ours if name.upper().removeprefix(PREFIX) not in known)
    if not unknown:
        return
    name = unknown[0] if unknown[0].isprintable() else ascii(unknown[0])
    close = difflib.get_close_matches(name.upper().removeprefix(PREFIX), known, n=1)
    hint = f"; did you mean {PREFIX}{close[0]}?" if close else "; unset it (docs/settings.md lists the known ones)"
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        hint += " (Kubernetes sets such variables for a Service named maru: set enableServiceLinks: false)"
    raise BadSetting(f"{name}: unknown variable{hint}{_more(len(unknown))}")


def _first_fault(error: ValidationError) -> str:
    """Return a single line: the first fault, and the number of further faults."""
    # A default that can't be made, since it depends on a bad field, is not a second fault.
    faults = [fault for fault in error.errors() if fault["type"] != "default_factory_not_called"]
    fault, more = faults[0], _more(len(faults))
    own = str(fault["ctx"]["error"]) if fault["type"] == "value_error" else None
    if not fault["loc"]:
        return f"{own}{more}"
    name = str(fault["loc"][0])
    field = Settings.model_fields[name]
    says = own or f"expected {field.description or 'text'}"
    got = f", got {ascii(fault['input'])[:80]}" if field.repr else ""
    return f"{PREFIX}{name.upper()}: {says}{got}{more}"


def _more(count: int) -> str:
    return f" (and {count - 1} more)" if count > 1 else ""

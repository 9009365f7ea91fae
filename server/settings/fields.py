"""Types of fields that several groups of settings have."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from server.settings import values

Seconds = Annotated[float, BeforeValidator(values.duration)]
FilePath = Annotated[Path, BeforeValidator(values.file_path)]


def private(description: str) -> Any:
    """Make a field whose value is never shown: not in a repr, not in an error, not by `describe`."""
    return Field(default=None, repr=False, description=description)

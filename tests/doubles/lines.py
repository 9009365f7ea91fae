"""Log lines that a test reads."""

import json
from io import StringIO
from typing import Any


class Lines:
    """What was written, parsed."""

    def __init__(self, stream: StringIO) -> None:
        self.stream = stream

    @property
    def text(self) -> str:
        """As it was written."""
        return self.stream.getvalue()

    @property
    def last(self) -> dict[str, Any]:
        """The fields of the last line; fails where there is none."""
        fields: dict[str, Any] = json.loads(self.text.splitlines()[-1])
        return fields

"""The history of a run: what clients asked, what they were told, and what was done to the servers, as JSON lines.

A single process writes the history, so the order of its records is the order of time: a record that was written before
another one's `invoke` happened before that operation.
"""

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Json = dict[str, Any]
Kind = Literal["invoke", "ok", "fail", "info"]

NEMESIS = "nemesis"
"""The process that makes faults."""


@dataclass(frozen=True, slots=True)
class Record:
    """A line of the history.

    `kind` is `invoke` for a question, `ok` for its answer, `fail` if the operation was certainly not done, `info` if
    nobody knows; the two lines of an operation share its number `op`. What a client is told unasked has the number 0.
    """

    index: int
    at: float
    process: str
    kind: Kind
    name: str
    op: int
    value: Json


class History:
    """Writes records to a file and keeps them. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self.records: list[Record] = []
        self._file = path.open("w", encoding="utf-8")
        self._began = time.monotonic()
        self._ops = itertools.count(1)

    def __enter__(self) -> "History":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def invoke(self, process: str, name: str, value: Json) -> int:
        """Note a question; return the number of the operation."""
        op = next(self._ops)
        self._write(process, "invoke", name, op, value)
        return op

    def end(self, process: str, kind: Kind, name: str, op: int, value: Json) -> None:
        """Note how an operation ended."""
        self._write(process, kind, name, op, value)

    def told(self, process: str, name: str, value: Json) -> None:
        """Note what a client was told unasked."""
        self._write(process, "ok", name, 0, value)

    def fault(self, name: str, **value: Any) -> int:
        """Note a fault, or its end; return the record's index."""
        self._write(NEMESIS, "info", name, 0, value)
        return len(self.records) - 1

    def _write(self, process: str, kind: Kind, name: str, op: int, value: Json) -> None:
        record = Record(len(self.records), round(time.monotonic() - self._began, 4), process, kind, name, op, value)
        self.records.append(record)
        self._file.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a file."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield Record(**json.loads(line))


def compact(name: str, event: Json) -> Json:
    """Return the parts of a log event that are judged. `state` is what it tells beside a message: reactions, or an
    application's data."""
    if name == "event:published":
        return published(event)
    position = {part: event[part] for part in ("channel", "epoch", "offset", "at")}
    if name == "reaction:changed":
        nothing = {"author": None, "key": None, "text": None}
        return position | {"event": "reacted", "id": event["id"], **nothing, "state": event["reactions"]}
    return position | {"event": name.removeprefix("message:"), **message(event["message"])}


def published(event: Json) -> Json:
    """Return the parts of an application's event that are judged; `id` is its name."""
    position = {part: event[part] for part in ("channel", "epoch", "offset", "at")}
    author, key = event["author"]["id"], event["key"]
    return position | {
        "event": "published",
        "id": event["name"],
        "author": author,
        "key": key,
        "text": None,
        "state": event["data"],
    }


def message(body: Json) -> Json:
    """Return the parts of a message that are judged; `text` is None if it is deleted."""
    author = body.get("author")
    return {
        "id": body["id"],
        "author": None if author is None else author["id"],
        "key": body.get("key"),
        "text": body.get("text"),
    } | ({"reactions": body["reactions"]} if body.get("reactions") else {})

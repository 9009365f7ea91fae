"""Questions to the backend and its verdicts as JSON (PROTOCOL.md, "Hooks")."""

import json
import re
from typing import Any

import orjson

from server.domain.hooks import (
    MAX_CACHE_S,
    MAX_REASON_CHARS,
    Accept,
    AskOutcome,
    NoVerdict,
    Question,
    Reject,
    Replace,
    Verdict,
)
from server.domain.texts import is_breaking

CONTENT = ("text", "data")
"""The names of a replacement's content."""

_LONG_NUMBER = re.compile(rb"[0-9]{19}")
"""So many digits may be a whole number of more than 64 bits, of which the fast parser makes another number."""


def question(asked: Question) -> bytes:
    """Return the body of a request. A field that the command does not have is null; `id` is there for edits alone, and
    `name` for events of applications."""
    body = {
        "hook": asked.hook.value,
        "user": asked.user,
        "session": asked.session,
        "channel": asked.channel,
        "text": asked.text,
        "data": asked.data,
        "key": asked.key,
    }
    own = {"id": asked.id, "name": asked.name}
    return orjson.dumps(body | {field: given for field, given in own.items() if given is not None})


def verdict(body: bytes, *, of_event: bool = False) -> Verdict:
    """Read the body of an answer. Raises `NoVerdict`, which names the field at fault and repeats nothing. `of_event`:
    the question was about an event of an application, which has no text."""
    answer = _object(body)
    match answer.get("action"):
        case "accept":
            _check_alone(answer, "accept")
            return Accept(_seconds(answer.get("cache_s")))
        case "reject":
            return Reject(_reason(answer.get("reason")))
        case "replace":
            content = {name: answer[name] for name in CONTENT if name in answer}
            if of_event and "data" not in content:
                raise _bad("data: missing, although the action is replace")
            if not of_event and content.get("text") is None:
                raise _bad("text: missing, although the action is replace")
            return Replace(content)
        case _:
            raise _bad("action: expected accept, reject or replace")


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
        if _LONG_NUMBER.search(body):
            answer = json.loads(body)
    except (ValueError, RecursionError):
        raise _bad("no JSON") from None
    if not isinstance(answer, dict):
        raise _bad("no JSON object")
    return answer


def _check_alone(answer: dict[str, Any], action: str) -> None:
    """Refuse an answer that has a content and does not ask to use it: its backend means a replacement."""
    if named := next((name for name in CONTENT if answer.get(name) is not None), None):
        raise _bad(f"{named}: given, although the action is {action}")


def _seconds(given: object) -> float:
    if given is None:
        return 0.0
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= MAX_CACHE_S:
        raise _bad(f"cache_s: expected seconds from 0 to {MAX_CACHE_S}")
    return float(given)


def _reason(given: object) -> str | None:
    """Return the reason as it may be shown: a part of it if it is too long, none if it is no plain text."""
    if not isinstance(given, str) or is_breaking(given):
        return None
    return given[:MAX_REASON_CHARS] or None


def _bad(why: str) -> NoVerdict:
    return NoVerdict(AskOutcome.BAD_ANSWER, why)

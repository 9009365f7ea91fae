"""Questions and verdicts as JSON: the form, the bounds, and what is taken for no verdict."""

import json
from typing import Any

import pytest

from server.domain.channels import ChannelName
from server.domain.hooks import Accept, AskOutcome, Hook, NoVerdict, Question, Reject, Replace, Verdict
from server.domain.identity import SessionId, UserId
from server.domain.messages import MessageId
from server.wire import hooks

QUESTION = Question(Hook.SEND, UserId("alice"), SessionId("s"), ChannelName("room:1"), "hi", {"a": 1}, "k")


def test_a_question() -> None:
    """All fields, null if the command has none; `id` for edits alone."""
    body = json.loads(hooks.question(QUESTION))
    assert body == {
        "hook": "send",
        "user": "alice",
        "session": "s",
        "channel": "room:1",
        "text": "hi",
        "data": {"a": 1},
        "key": "k",
    }
    edit = Question(Hook.EDIT, UserId("a"), SessionId("s"), ChannelName("b"), "x", None, None, MessageId("m"))
    assert json.loads(hooks.question(edit))["id"] == "m"
    event = Question(Hook.SEND, UserId("a"), SessionId("s"), ChannelName("b"), None, [1, None], "k", name="order")
    asked = json.loads(hooks.question(event))
    assert (asked["hook"], asked["name"], asked["text"], asked["data"]) == ("send", "order", None, [1, None])


def test_no_text_in_a_repr() -> None:
    """A question that stands in a traceback shows no message."""
    assert "text" not in repr(QUESTION)
    assert "data" not in repr(QUESTION)


VERDICTS: list[tuple[dict[str, Any], Verdict]] = [
    ({"action": "accept"}, Accept()),
    ({"action": "accept", "cache_s": 300, "more": 1, "text": None, "reason": 5}, Accept(300.0)),
    ({"action": "accept", "cache_s": 0.5}, Accept(0.5)),
    ({"action": "accept", "cache_s": None}, Accept()),
    ({"action": "reject"}, Reject()),
    ({"action": "reject", "reason": "Be kind."}, Reject("Be kind.")),
    ({"action": "reject", "reason": "x" * 201}, Reject("x" * 200)),
    ({"action": "reject", "reason": "a\nb"}, Reject()),
    ({"action": "reject", "reason": ""}, Reject()),
    ({"action": "reject", "reason": ["no"], "text": "x", "cache_s": -1}, Reject()),
    ({"action": "replace", "text": "ho"}, Replace({"text": "ho"})),
    ({"action": "replace", "text": "ho", "data": None}, Replace({"text": "ho", "data": None})),
    ({"action": "replace", "text": "ho", "data": {"n": 10**20}}, Replace({"text": "ho", "data": {"n": 10**20}})),
]


@pytest.mark.parametrize(("answer", "verdict"), VERDICTS)
def test_verdicts(answer: dict[str, Any], verdict: Verdict) -> None:
    """A rejection stands whatever its reason is; long numbers are exact, so that their bound can be judged."""
    assert hooks.verdict(json.dumps(answer).encode()) == verdict


def test_a_replacement_of_an_event() -> None:
    """It has data, of any kind, and no text."""
    replaced = hooks.verdict(b'{"action": "replace", "data": null}', of_event=True)
    assert replaced == Replace({"data": None})
    with pytest.raises(NoVerdict, match="data: missing"):
        hooks.verdict(b'{"action": "replace", "text": "ho"}', of_event=True)


NO_VERDICTS = {
    "nothing": b"",
    "text": b"accept",
    "half": b'{"action":',
    "a list": b'["accept"]',
    "NaN": b'{"action": "accept", "cache_s": NaN}',
    "no UTF-8": b'{"action": "\xff"}',
    "deep": b"[" * 60_000,
    "deep with a long number": b'{"a": 1234567890123456789012, "b": ' + b"[" * 60_000,
    "no action": b"{}",
    "another action": b'{"action": "ACCEPT"}',
    "a list as action": b'{"action": ["accept"]}',
    "too long": b'{"action": "accept", "cache_s": 300.1}',
    "below zero": b'{"action": "accept", "cache_s": -1}',
    "a true time": b'{"action": "accept", "cache_s": true}',
    "a time in words": b'{"action": "accept", "cache_s": "60"}',
    "a content that is not asked to be used": b'{"action": "accept", "text": "ho"}',
    "data that are not asked to be used": b'{"action": "accept", "data": {}}',
    "a replacement by nothing": b'{"action": "replace", "data": {}}',
    "a replacement by null": b'{"action": "replace", "text": null}',
}


@pytest.mark.parametrize("body", NO_VERDICTS.values(), ids=NO_VERDICTS)
def test_no_verdicts(body: bytes) -> None:
    """The reason is named, and nothing of the answer is repeated."""
    with pytest.raises(NoVerdict) as found:
        hooks.verdict(body)
    assert found.value.outcome is AskOutcome.BAD_ANSWER
    assert "ho" not in str(found.value).split()

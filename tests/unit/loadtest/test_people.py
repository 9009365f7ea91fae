"""Marks, reactions and rosters are judged rightly: sound answers pass, and each kind of fault is found."""

from typing import Any

import pytest

from loadtest.people import Marks, PeopleTally, ReactionBook, is_whole

OK = {"ok": True}
REFUSED = {"ok": False, "error": {"code": "unavailable"}}


def mark(offset: int, unread: int = 0, mentions: int = 0) -> dict[str, Any]:
    """An answer to `read:mark`."""
    return {"ok": True, "offset": offset, "unread": unread, "unread_mentions": mentions}


def message(**reactions: dict[str, Any]) -> dict[str, Any]:
    """A message in a page."""
    return {"id": "m1", "reactions": reactions}


@pytest.mark.parametrize(
    ("answers", "read", "faults"),
    [
        ([mark(3, 2), mark(3, 4), mark(7)], 7, 0),
        ([mark(3), REFUSED, mark(4, 1, 1)], 0, 0),
        ([mark(3), mark(2)], 0, 1),
        ([mark(3, -1)], 0, 1),
        ([mark(3, 1, 2)], 0, 1),
        ([mark(6)], 7, 1),
        ([mark(7, 1)], 7, 1),
    ],
)
def test_marks(answers: list[dict[str, Any]], read: int, faults: int) -> None:
    """They never go back, count no more mentions than messages, and leave nothing unread at the end."""
    tally = PeopleTally()
    marks = Marks(tally)
    told = [marks.answered("room:1", each, read=read if each is answers[-1] else 0) for each in answers]
    assert tally.marks == told.count(False) == faults
    assert tally.clean is not bool(faults)
    assert marks.answered("room:2", mark(1)), "each channel has its own mark"


@pytest.mark.parametrize(
    ("state", "sound"),
    [
        ({"p0": {"count": 2, "users": ["load-0", "load-1"]}}, True),
        ({"p0": {"count": 3, "users": ["load-0", "load-1", "load-2"]}}, True),
        ({"p0": {"count": 2, "users": ["load-0"]}}, False),
        ({"p0": {"count": 1, "users": ["load-0"]}}, False),
        ({"p0": {"count": 4, "users": ["a", "b", "c", "d"]}}, False),
        ({}, False),
        ({"p1": {"count": 2, "users": ["load-0", "load-1"]}}, False),
    ],
)
def test_reactions(state: dict[str, dict[str, Any]], *, sound: bool) -> None:
    """Two clients react for sure, one takes it back, and one answer is lost."""
    tally = PeopleTally()
    book = ReactionBook("p0", tally)
    for client in (0, 1, 2):
        assert book.asked("room:1", "m1", client)
        book.answered("room:1", "m1", client, True, OK)
    assert not book.asked("room:1", "m1", 2)
    assert book.judge("room:1", message(**state)) is sound
    assert tally.reactions == (not sound)
    assert book.judge("room:1", {"id": "m2", "reactions": {}}), "nobody reacted to this message"
    assert book.judge("room:1", {"id": "m1", "deleted": True}), "a deleted message has none"
    assert book.messages == [("room:1", "m1")]


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        ({"ok": True, "count": 2, "complete": True, "members": [{"user": "a"}, {"user": "b"}]}, True),
        ({"ok": True, "count": 2, "complete": False, "members": []}, True),
        ({"ok": True, "count": 3, "complete": True, "members": [{"user": "a"}, {"user": "b"}]}, False),
        ({"ok": True, "count": 2, "complete": True, "members": [{"user": "a"}, {"user": "a"}]}, False),
        (REFUSED, False),
    ],
)
def test_rosters(answer: dict[str, Any], *, whole: bool) -> None:
    """Everybody is there, once."""
    assert is_whole(answer, 2) is whole

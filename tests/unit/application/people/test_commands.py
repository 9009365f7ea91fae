"""The payloads of commands about people."""

import pytest

from server.application.people.commands import InChannel, MarkRead
from server.domain.errors import BadRequest


def test_a_mark_names_a_channel_and_an_offset() -> None:
    """Whole, and not below zero."""
    assert MarkRead.parse({"channel": "room:1", "offset": 0}).offset == 0
    assert InChannel.parse({"channel": "room:1", "more": 1}).channel == "room:1"
    for wrong in ({"channel": "room:1"}, {"channel": "room:1", "offset": -1}, {"channel": "Room", "offset": 1}):
        with pytest.raises(BadRequest):
            MarkRead.parse(wrong)

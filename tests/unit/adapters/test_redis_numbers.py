"""The numbers that the scripts for Redis share with the code."""

import re

from server.adapters.redis.scripts import APPEND_OTHERS, READING, script_text
from server.domain.reactions import MAX_EMOJIS, MAX_REACTORS, SHOWN_USERS
from server.ports.marks import MENTIONS_COUNTED


def test_the_bounds_of_reactions_are_those_of_the_domain() -> None:
    """In react.lua."""
    text = script_text(*APPEND_OTHERS).decode()
    found = re.search(r"local MAX_EMOJIS, MAX_REACTORS, SHOWN_USERS = (\d+), (\d+), (\d+)", text)
    assert found is not None
    assert tuple(map(int, found.groups())) == (MAX_EMOJIS, MAX_REACTORS, SHOWN_USERS)


def test_the_mentions_that_are_kept_are_those_of_the_port() -> None:
    """In append.lua; both scripts pack them in as many bytes."""
    writing, reading = script_text(*APPEND_OTHERS).decode(), script_text(*READING).decode()
    kept = re.search(r"local MENTIONS_KEPT, PLACE = (\d+), (\d+)", writing)
    place = re.search(r"local PLACE = (\d+)", reading)
    assert kept is not None
    assert place is not None
    assert (int(kept[1]), kept[2]) == (MENTIONS_COUNTED, place[1])

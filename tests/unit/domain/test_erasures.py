"""Which erasures are forgotten, and the ids of those that have a key."""

from dataclasses import replace

from server.domain.erasures import ID_CHARS, Erasure, erasure_id, forgettable
from server.domain.identity import UserId

FIRST = Erasure("a", UserId("alice"), 100, 100)


def test_those_that_are_done_go_first_when_there_are_too_many() -> None:
    """In the order in which they were done; and all that were done long ago."""
    kept = [FIRST, *(replace(FIRST, id=str(at), done_at=at) for at in (130, 110, 120))]
    assert forgettable(kept, 200, 100, 10) == []
    assert [each.id for each in forgettable(kept, 200, 85, 10)] == ["110"]
    assert [each.id for each in forgettable(kept, 200, 100, 3)] == ["110", "120"]
    assert [each.id for each in forgettable(kept, 300, 100, 4)] == ["110", "120", "130"]
    assert forgettable([FIRST], 1_000, 100, 1) == []


def test_a_key_belongs_to_its_user() -> None:
    """No two users share an erasure, however their names and keys are cut."""
    ids = {erasure_id(UserId(user), key) for user, key in (("a", "b:c"), ("a:b", "c"), ("a", "b"), ("b", "a"))}
    assert len(ids) == 4
    assert all(len(id) == ID_CHARS for id in ids)

"""A roster as a document."""

from server.adapters.nats.roster import PACKED_BYTES, Members
from server.domain.identity import UserId
from server.domain.presence import NOBODY, RosterHead

ANNA, BERT = UserId("anna"), UserId("bert")


def test_a_document_is_the_roster() -> None:
    """Also a long one, which is compressed."""
    for number in (1, 10_000):
        members = Members()
        members.enter("holder.0", {UserId(f"user-{each:08}"): f"Name {each}" for each in range(number)}, 7, NOBODY)
        data = members.written()
        assert Members.read(data).roster(number) == members.roster(number)
        assert (len(data) < PACKED_BYTES) == (number == 1)
        assert len(data) < 400_000


def test_nothing_is_an_empty_roster() -> None:
    """Without an epoch of its own."""
    members = Members.read(b"")
    assert (members.head, members.changed) == (NOBODY, False)
    assert members.leave(("holder.0",), [ANNA]) == ()
    assert (members.head, members.changed) == (NOBODY, False)


def test_a_user_is_there_as_long_as_a_holder_is() -> None:
    """Each that enters or leaves raises the version."""
    members = Members()
    joined, told = members.enter("one", {ANNA: "Anna", BERT: None}, 1, NOBODY)
    assert ([each.user for each in joined], told, members.version) == ([ANNA, BERT], True, 2)
    assert members.enter("two", {ANNA: "another"}, 2, NOBODY) == ((), False)
    assert members.leave(("one",)) == (next(each for each in joined if each.user == BERT),)
    assert (members.has("one"), members.has("two"), members.version) == (False, True, 3)
    (anna,) = members.roster(10).members
    assert (anna.name, anna.since) == ("Anna", 1)


def test_a_roster_behind_what_was_seen_has_a_new_epoch() -> None:
    """The store came back older."""
    members = Members()
    members.enter("one", {ANNA: None}, 1, NOBODY)
    before = members.head
    assert members.enter("one", {ANNA: None}, 1, RosterHead(before.epoch, 9, 3)) == ((), True)
    assert members.head.epoch != before.epoch

"""The checker finds each kind of violation in a short history made by hand, and nothing in a sound history."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.jepsen.checker import check
from tests.jepsen.history import NEMESIS, Json, Kind, Record

ROOM = "room:a"


class Made:
    """A history under construction. Every message is by `ann`, its key and text follow from its number."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._ops = 0
        self.epoch = "one"

    def write(self, process: str, kind: Kind, name: str, op: int, value: Json, at: float | None = None) -> int:
        """Add a record."""
        index = len(self.records)
        self.records.append(Record(index, float(index) if at is None else at, process, kind, name, op, value))
        return index

    def invoke(self, process: str, name: str, value: Json) -> int:
        """Ask."""
        self._ops += 1
        self.write(process, "invoke", name, self._ops, {"channel": ROOM, **value})
        return self._ops

    def send(self, number: int, offset: int | None = None, *, epoch: str | None = None, duplicate: bool = False) -> int:
        """Send a message, whose offset is its number; return the operation."""
        op = self.invoke("ann", "send", {"author": "ann", "key": f"k{number}", "text": f"says {number}"})
        place = {"epoch": epoch or self.epoch, "offset": offset or number, "duplicate": duplicate}
        self.write("ann", "ok", "send", op, place | message(number))
        return op

    def change(self, name: str, number: int, offset: int, text: str | None = None) -> None:
        """Edit or delete a message."""
        op = self.invoke("ann", name, {"id": f"id{number}"} | ({} if text is None else {"text": text}))
        self.write("ann", "ok", name, op, {"epoch": self.epoch, "offset": offset})

    def join(self, process: str = "bob", since: tuple[str, int] | None = None) -> int:
        """Ask to join; return the operation."""
        return self.invoke(process, "join", {"since": since and {"epoch": since[0], "offset": since[1]}})

    def joined(self, op: int, offset: int, *events: Json, process: str = "bob", **told: Any) -> None:
        """Answer that."""
        value = {"channel": ROOM, "epoch": self.epoch, "offset": offset, "recovered": None, "reason": None}
        self.write(process, "ok", "join", op, value | told | {"events": list(events)})

    def hear(self, number: int, process: str = "bob", **other: Any) -> None:
        """Let a reader hear the creation of a message."""
        self.write(process, "ok", "event", 0, self.event(number) | other)

    def event(self, number: int, **other: Any) -> Json:
        """Return the creation of a message."""
        place = {"channel": ROOM, "epoch": self.epoch, "offset": number, "at": f"t{number}", "event": "created"}
        return place | message(number) | other

    def page(self, *numbers: int, offset: int, more: bool = False) -> None:
        """Read the history."""
        op = self.invoke("cid", "history", {})
        messages = [{"offset": number, **message(number)} for number in numbers]
        place = {"channel": ROOM, "epoch": self.epoch, "offset": offset, "more": more}
        self.write("cid", "ok", "history", op, place | {"messages": messages})

    def log(self, *numbers: int, offset: int, **texts: str | None) -> None:
        """End with the log; `texts` are those of messages by id that were changed."""
        messages = [{"offset": number, **message(number)} for number in numbers]
        for each in messages:
            each["text"] = texts.get(each["id"], each["text"])
        value = {"channel": ROOM, "epoch": self.epoch, "offset": offset, "messages": messages}
        self.write("auditor", "ok", "log", 0, value)

    def fault(self, **value: Any) -> None:
        """Make a fault."""
        self.write(NEMESIS, "info", "fault", 0, value)

    def kinds(self) -> set[str]:
        """Judge."""
        return check(self.records).kinds()


def message(number: int) -> Json:
    """A message as it was sent."""
    return {"id": f"id{number}", "author": "ann", "key": f"k{number}", "text": f"says {number}"}


def read_by_bob() -> Made:
    """Two messages that bob hears; the log is still to be written."""
    made = Made()
    made.joined(made.join(), 0)
    for number in (1, 2):
        made.send(number)
        made.hear(number)
    return made


def sound(made: Made) -> None:
    """Nothing is wrong."""
    made.log(1, 2, offset=2)


def acked_and_lost(made: Made) -> None:
    """An acked message is not in the log."""
    made.send(3)
    made.send(4)
    made.hear(3)
    made.hear(4)
    made.log(1, 2, 4, offset=4)


def lost_edit(made: Made) -> None:
    """The log has the text before an acked edit."""
    made.change("edit", 1, 3, "better")
    made.hear(1, offset=3, event="edited", text="better", at="t3")
    made.log(1, 2, offset=3)


def lost_deletion(made: Made) -> None:
    """The log has a message whose deletion was acked."""
    made.change("delete", 1, 3)
    made.hear(1, offset=3, event="deleted", text=None, key=None, author=None, at="t3")
    made.log(1, 2, offset=3)


def other_epoch_without_a_fault(made: Made) -> None:
    """The epoch changes, everybody is told, a message is gone, and no fault explains it."""
    made.epoch = "two"
    made.joined(made.join(since=("one", 2)), 1, recovered=False, reason="epoch_changed")
    made.log(1, offset=1)


def key_twice(made: Made) -> None:
    """A repeated key is a second message."""
    op = made.invoke("ann", "send", {"author": "ann", "key": "k2", "text": "says 2"})
    again = message(2) | {"id": "id3"}
    made.write("ann", "ok", "send", op, {"epoch": "one", "offset": 3, "duplicate": False} | again)
    made.hear(2, offset=3, at="t3", id="id3")
    made.log(1, 2, offset=3)
    made.records[-1].value["messages"].append({"offset": 3} | again)


def offset_twice(made: Made) -> None:
    """A connected reader hears an event twice."""
    made.hear(2)
    made.log(1, 2, offset=2)


def back_in_order(made: Made) -> None:
    """A reader that came in the middle hears an event of before."""
    made.joined(made.join("dan"), 2, process="dan")
    made.hear(1, "dan")
    made.log(1, 2, offset=2)


def against_the_log(made: Made) -> None:
    """A message gets a lower offset than a message that was acked before it was sent."""
    made.send(4)
    made.send(3)
    made.hear(3)
    made.hear(4)
    made.log(1, 2, 3, 4, offset=4)


def retry_that_inverts(made: Made) -> None:
    """A message is refused, the message behind it is written, and the first is repeated."""
    first = made.invoke("ann", "send", {"author": "ann", "key": "k4", "text": "says 4"})
    made.send(3)
    made.write("ann", "info", "send", first, {"error": "unavailable"})
    made.send(4)
    made.hear(3)
    made.hear(4)
    made.log(1, 2, 3, 4, offset=4)


def unknown_event(made: Made) -> None:
    """A reader hears a message that nobody sent."""
    made.hear(3)
    made.log(1, 2, 3, offset=3)


def other_text(made: Made) -> None:
    """A reader hears other words than were sent."""
    made.send(3)
    made.hear(3, text="says nothing")
    made.log(1, 2, 3, offset=3)


def before_it_was_sent(made: Made) -> None:
    """A reader hears a message before its author has sent it."""
    made.hear(3)
    made.send(3)
    made.log(1, 2, 3, offset=3)


def hole(made: Made) -> None:
    """A connected reader misses an event."""
    made.send(3)
    made.send(4)
    made.hear(4)
    made.log(1, 2, 3, 4, offset=4)


def hole_in_a_resume(made: Made) -> None:
    """A resume leaves out an event."""
    made.send(3)
    made.send(4)
    made.joined(made.join(since=("one", 2)), 4, made.event(4), recovered=True)
    made.log(1, 2, 3, 4, offset=4)


def silent_end(made: Made) -> None:
    """A reader does not hear the last event, though it stays connected."""
    made.send(3)
    made.log(1, 2, 3, offset=3)


def recovered_over_another_history(made: Made) -> None:
    """A reader is told that it has recovered, in a log that has other events at the same places."""
    made.send(3)
    made.hear(3)
    made.send(5, 3)
    made.joined(made.join(since=("one", 3)), 3, recovered=True)
    made.log(1, 2, offset=3)


def recovered_into_another_epoch(made: Made) -> None:
    """A position of one epoch is recovered into another."""
    made.fault(resets=True)
    made.epoch = "two"
    made.joined(made.join(since=("one", 2)), 2, recovered=True)
    made.log(1, 2, offset=2)


def shorter_log(made: Made) -> None:
    """A reader is ahead of the log in the same epoch."""
    made.fault(loses_since=1)
    made.joined(made.join(since=("one", 2)), 1, recovered=False, reason="ahead_of_log")
    made.log(1, offset=1)


def untold(made: Made) -> None:
    """The store comes back older, and a connected reader hears the new epoch's events without a word."""
    made.fault(loses_since=1)
    made.epoch = "two"
    made.send(3, 2)
    made.hear(3, offset=2, at="t3")
    made.log(1, offset=2)
    made.records[-1].value["messages"].append({"offset": 2, **message(3)})


def untold_to_the_end(made: Made) -> None:
    """The store comes back older, and a reader is never told."""
    made.fault(loses_since=1)
    made.epoch = "two"
    made.log(1, offset=1)


def stale_page(made: Made) -> None:
    """A page leaves out a message that was acked before."""
    made.page(1, offset=2)
    made.log(1, 2, offset=2)


def text_after_deletion(made: Made) -> None:
    """A page has the text of a deleted message."""
    made.change("delete", 1, 3)
    made.hear(1, offset=3, event="deleted", text=None, key=None, author=None, at="t3")
    made.page(1, 2, offset=3)
    made.log(1, 2, offset=3, id1=None)


def replay_after_deletion(made: Made) -> None:
    """A replay goes as far as the deletion, and has the text."""
    made.change("delete", 1, 3)
    gone = made.event(1, offset=3, event="deleted", text=None, key=None, author=None, at="t3")
    op = made.join("dan", ("one", 0))
    made.joined(op, 3, made.event(1), made.event(2), gone, process="dan", recovered=True)
    made.joined(made.join(since=("one", 2)), 3, gone, recovered=True)
    made.log(1, 2, offset=3, id1=None)


def repeat_after_deletion(made: Made) -> None:
    """A repeat by the key of a deleted message is answered with the text."""
    made.change("delete", 1, 3)
    made.hear(1, offset=3, event="deleted", text=None, key=None, author=None, at="t3")
    made.send(1, duplicate=True)
    made.log(1, 2, offset=3, id1=None)


def never_answered(made: Made) -> None:
    """A message that is repeated is never acked."""
    op = made.invoke("ann", "send", {"author": "ann", "key": "k9", "text": "says 9"})
    made.write("ann", "info", "send", op, {"error": "the connection ended"})
    made.log(1, 2, offset=2)


def evict(made: Made, channel: str | None = ROOM) -> None:
    """Take a key away from Redis."""
    began = len(made.records)
    made.fault(resets=True, channel=channel)
    made.fault(ends=0, loses_since=0, channel=channel, evicts_since=began)


def renamed(made: Made) -> None:
    """The epoch changes, and bob is told; the log is whole."""
    made.epoch = "two"
    made.joined(made.join(since=("one", 2)), 2, recovered=False, reason="epoch_changed")


def written_again(made: Made, number: int, offset: int) -> None:
    """A message is written a second time, and the log has both."""
    op = made.invoke("ann", "send", {"author": "ann", "key": f"k{number}", "text": f"says {number}"})
    again = message(number) | {"id": "again"}
    made.write("ann", "ok", "send", op, {"epoch": made.epoch, "offset": offset, "duplicate": False} | again)
    made.hear(number, offset=offset, at=f"t{offset}", id="again")
    made.log(*range(1, offset), offset=offset)
    made.records[-1].value["messages"].append({"offset": offset, **again})


def key_twice_in_the_epoch_of_the_eviction(made: Made) -> None:
    """A key of Redis is evicted; a message is written again, and the epoch stays."""
    evict(made)
    written_again(made, 2, 3)


def key_twice_after_another_channel_lost_keys(made: Made) -> None:
    """A key of another channel is evicted, then the epoch changes; a message is written again."""
    evict(made, "room:b")
    made.fault(resets=True)
    renamed(made)
    written_again(made, 2, 3)


def key_twice_after_a_key_of_no_channel(made: Made) -> None:
    """A key that all channels share is evicted, and the epoch changes; a message is written again."""
    evict(made, None)
    renamed(made)
    written_again(made, 2, 3)


def key_twice_of_a_later_message(made: Made) -> None:
    """A key is evicted, and the epoch changes; a message that is sent afterwards is written twice."""
    evict(made)
    renamed(made)
    made.send(3)
    made.hear(3)
    written_again(made, 3, 4)


def key_twice_before_the_eviction(made: Made) -> None:
    """A message is written twice; then a key is evicted, and the epoch stays."""
    written_again(made, 2, 3)
    evict(made)


@pytest.mark.parametrize(
    ("story", "kinds"),
    [
        (sound, set()),
        (acked_and_lost, {"lost"}),
        (lost_edit, {"lost"}),
        (lost_deletion, {"lost"}),
        (other_epoch_without_a_fault, {"lost", "needless"}),
        (key_twice, {"doubled"}),
        (key_twice_in_the_epoch_of_the_eviction, {"doubled"}),
        (key_twice_after_another_channel_lost_keys, {"doubled"}),
        (key_twice_after_a_key_of_no_channel, {"doubled"}),
        (key_twice_of_a_later_message, {"doubled"}),
        (key_twice_before_the_eviction, {"doubled"}),
        (offset_twice, {"doubled"}),
        (back_in_order, {"reordered"}),
        (against_the_log, {"reordered", "inverted"}),
        (retry_that_inverts, {"inverted"}),
        (unknown_event, {"invented"}),
        (other_text, {"invented", "rewritten"}),
        (before_it_was_sent, {"invented"}),
        (hole, {"hole"}),
        (hole_in_a_resume, {"hole"}),
        (silent_end, {"hole"}),
        (recovered_over_another_history, {"rewritten", "lost"}),
        (recovered_into_another_epoch, {"rewritten"}),
        (shorter_log, {"rewritten", "lost"}),
        (untold, {"untold"}),
        (untold_to_the_end, {"untold"}),
        (stale_page, {"stale"}),
        (text_after_deletion, {"undeleted"}),
        (replay_after_deletion, {"undeleted"}),
        (repeat_after_deletion, {"undeleted"}),
        (never_answered, {"stuck"}),
    ],
)
def test_a_violation_is_found_by_its_name(story: Callable[[Made], None], kinds: set[str]) -> None:
    """Each story is that of its docstring."""
    made = read_by_bob()
    story(made)
    assert made.kinds() == kinds, check(made.records).violations


def told_of_the_loss(made: Made) -> None:
    """The store comes back older; the reader is told, and hears the new epoch."""
    made.fault(loses_since=1)
    made.epoch = "two"
    made.joined(made.join(since=("one", 2)), 1, recovered=False, reason="epoch_changed")
    made.send(3, 2)
    made.hear(3, offset=2, at="t3")
    made.log(1, offset=2)
    made.records[-1].value["messages"].append({"offset": 2, **message(3)})


def repeated_with_its_key(made: Made) -> None:
    """The answer to a message is lost; its repeat is acked as a duplicate."""
    op = made.invoke("ann", "send", {"author": "ann", "key": "k3", "text": "says 3"})
    made.write("ann", "info", "send", op, {"error": "the connection ended"})
    made.hear(3)
    made.send(3, duplicate=True)
    made.log(1, 2, 3, offset=3)


def erased(made: Made) -> None:
    """After a deletion, the creation is replayed without its text."""
    made.change("delete", 1, 3)
    gone = made.event(1, offset=3, event="deleted", text=None, key=None, author=None, at="t3")
    bare = made.event(1, text=None, key=None, author=None)
    op = made.join("dan", ("one", 0))
    made.joined(op, 3, bare, made.event(2), gone, process="dan", recovered=True)
    made.joined(made.join(since=("one", 2)), 3, gone, recovered=True)
    made.log(1, 2, offset=3, id1=None)


def edited_twice(made: Made) -> None:
    """An edit whose answer was lost may stand above an acked edit."""
    made.change("edit", 1, 3, "better")
    made.hear(1, offset=3, event="edited", text="better", at="t3")
    op = made.invoke("ann", "edit", {"id": "id1", "text": "best"})
    made.write("ann", "info", "edit", op, {"error": "no answer"})
    made.hear(1, offset=4, event="edited", text="best", at="t4")
    made.log(1, 2, offset=4, id1="best")


def deleted_twice(made: Made) -> None:
    """A second deletion is answered with the place of the first, though other events were acked between."""
    made.change("delete", 1, 3)
    made.hear(1, offset=3, event="deleted", text=None, key=None, author=None, at="t3")
    made.send(4)
    made.hear(4)
    made.change("delete", 1, 3)
    made.log(1, 2, 4, offset=4, id1=None)


def written_again_after_an_eviction(made: Made) -> None:
    """A key of the channel is evicted, and the epoch changes; a message of before is written again."""
    evict(made)
    renamed(made)
    written_again(made, 2, 3)


@pytest.mark.parametrize(
    "story",
    [
        deleted_twice,
        told_of_the_loss,
        repeated_with_its_key,
        erased,
        edited_twice,
        written_again_after_an_eviction,
    ],
)
def test_what_is_promised_is_no_violation(story: Callable[[Made], None]) -> None:
    """Each story is that of its docstring."""
    made = read_by_bob()
    story(made)
    assert check(made.records).violations == []


# People


def react(made: Made, user: str, kind: Kind = "ok", *, add: bool = True, number: int = 1) -> None:
    """Let a user react to a message, or not."""
    op = made.invoke(user, "react", {"id": f"id{number}", "emoji": "+1", "user": user, "add": add})
    answer = {"epoch": made.epoch, "offset": number, "duplicate": False} if kind == "ok" else {}
    made.write(user, kind, "react", op, answer)


def reactions(*users: str) -> Json:
    """The state of a message's reactions."""
    return {"+1": {"count": len(users), "users": list(users)}} if users else {}


def log_with(made: Made, *users: str) -> None:
    """End with a log of one message, and these reactions to it."""
    made.log(1, offset=9)
    made.records[-1].value["messages"][0]["reactions"] = reactions(*users)


def mark(made: Made, offset: int, unread: int = 0, mentions: int = 0, name: str = "mark") -> None:
    """Let a user mark, and be answered."""
    op = made.invoke("eve", name, {"offset": offset, "user": "eve"})
    made.write("eve", "ok", name, op, {"mark": offset, "unread": unread, "unread_mentions": mentions})


def publish(made: Made, number: int, offset: int) -> None:
    """Let an application publish an event."""
    op = made.invoke("shop", "publish", {"author": "shop", "name": "paid", "key": f"p{number}", "data": number})
    made.write("shop", "ok", "publish", op, {"epoch": made.epoch, "offset": offset, "duplicate": False})


def record(made: Made, number: int, offset: int, data: Any = None) -> Json:
    """The event that was published, as it is told."""
    content = {"id": "paid", "author": "shop", "key": f"p{number}", "text": None, "state": data or number}
    return {"channel": ROOM, "epoch": made.epoch, "offset": offset, "at": "t", "event": "published", **content}


def record_log(made: Made, *events: Json) -> None:
    """End with these events of applications."""
    place = {"channel": ROOM, "epoch": made.epoch, "offset": 9}
    made.write("shop", "ok", "record log", 0, place | {"events": list(events)})


def sound_people(made: Made) -> None:
    """Reactions, marks and events as they should be: one reaction has no answer, and is told all the same."""
    made.send(1)
    react(made, "bob")
    react(made, "cid", add=True)
    react(made, "cid", add=False)
    react(made, "dan", "info")
    told = {"id": "id1", "author": None, "key": None, "text": None, "state": reactions("bob")}
    place = {"channel": ROOM, "epoch": made.epoch, "at": "t"}
    op = made.join()
    made.joined(op, 0)
    made.hear(1)
    made.write("bob", "ok", "event", 0, place | {"offset": 2, "event": "reacted", **told})
    publish(made, 1, 3)
    publish(made, 1, 3)
    made.write("bob", "ok", "event", 0, record(made, 1, 3))
    mark(made, 0, 1)
    mark(made, 3)
    mark(made, 3, name="look")
    made.log(1, offset=3)
    made.records[-1].value["messages"][0]["reactions"] = reactions("bob", "dan")
    record_log(made, record(made, 1, 3))


def lost_reaction(made: Made) -> None:
    """An acked reaction is not there."""
    made.send(1)
    react(made, "bob")
    log_with(made)


def undead_reaction(made: Made) -> None:
    """A reaction that was taken back is there."""
    made.send(1)
    react(made, "bob")
    react(made, "bob", add=False)
    log_with(made, "bob")


def miscounted_reaction(made: Made) -> None:
    """The count is another than that of the users."""
    made.send(1)
    react(made, "bob")
    log_with(made, "bob")
    made.records[-1].value["messages"][0]["reactions"]["+1"]["count"] = 2


def invented_reaction(made: Made) -> None:
    """Nobody reacted so."""
    made.send(1)
    op = made.join()
    told = {"event": "reacted", "id": "id1", "author": None, "key": None, "text": None, "state": reactions("zoe")}
    place = {"channel": ROOM, "epoch": made.epoch, "offset": 2, "at": "t"}
    made.joined(op, 2, made.event(1), place | told, recovered=True)


def mark_that_went_back(made: Made) -> None:
    """An answer names an earlier place than the answer before."""
    mark(made, 7)
    mark(made, 6)


def impossible_unread(made: Made) -> None:
    """More mentions than messages."""
    mark(made, 7, 1, 2)


def wrong_unread(made: Made) -> None:
    """At the end, one message is behind the mark."""
    made.send(1)
    mark(made, 0, 2, name="look")
    made.log(1, offset=1)


def lost_record(made: Made) -> None:
    """An acked event of an application is not in the log."""
    publish(made, 1, 1)
    record_log(made)


def doubled_record(made: Made) -> None:
    """A key of an application is two events."""
    publish(made, 1, 1)
    publish(made, 1, 2)
    record_log(made, record(made, 1, 1), record(made, 1, 2))


def invented_record(made: Made) -> None:
    """An event has other data than was published."""
    publish(made, 1, 1)
    record_log(made, record(made, 1, 1, data="other"))


@pytest.mark.parametrize(
    ("make", "kinds"),
    [
        (sound_people, set()),
        (lost_reaction, {"reactions"}),
        (undead_reaction, {"reactions"}),
        (miscounted_reaction, {"reactions"}),
        (invented_reaction, {"invented"}),
        (mark_that_went_back, {"marks"}),
        (impossible_unread, {"marks"}),
        (wrong_unread, {"marks"}),
        (lost_record, {"lost"}),
        (doubled_record, {"doubled"}),
        (invented_record, {"invented"}),
    ],
)
def test_people_are_judged(make: Callable[[Made], None], kinds: set[str]) -> None:
    """Each kind of fault is called by its name, and what is sound is left alone."""
    made = Made()
    make(made)
    found = check(made.records)
    assert found.kinds() == kinds, found.violations

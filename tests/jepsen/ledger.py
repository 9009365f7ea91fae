"""A history, sorted for the checker: who asked for what, which event was told for which place, what the log has."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.jepsen.history import NEMESIS, Json, Record

WRITES = ("send", "edit", "delete")
PEOPLE = ("react", "publish", "mark", "look", "record log")
KINDS = {"send": "created", "edit": "edited", "delete": "deleted"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An acked write. `invoked` is the record of the answered question, `began` that of the first with its key."""

    name: str
    channel: str
    id: str
    epoch: str
    offset: int
    text: str | None
    began: int
    invoked: int
    index: int

    def __str__(self) -> str:
        return f"{self.name} of {self.id[-8:]} at {self.offset} of {self.epoch}"


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody was told of a place. None is what was not told; the text, also what is gone.

    `late` is a message in a page of the history: its text may be that of a later edit.
    """

    index: int
    event: str
    id: str
    at: str | None
    author: str | None
    key: str | None
    text: str | None
    late: bool = False
    state: Any = None  # reactions, or an application's data

    def differs(self, other: "Told") -> bool:
        """Whether the two can't be told of the same event."""
        if (self.event, self.id) != (other.event, other.id):
            return True
        pairs = [(self.at, other.at), (self.key, other.key), (self.state, other.state)]
        if not self.late and not other.late:
            pairs.append((self.text, other.text))
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)

    def __str__(self) -> str:
        return f"{self.event} {self.id[-8:]} {self.key} {self.text!r}"


@dataclass(slots=True)
class Sent:
    """A message that somebody sent, perhaps several times under one key."""

    text: str
    invoked: int
    ended: bool = False


@dataclass(slots=True)
class Asked:
    """An edit or a deletion that somebody asked for."""

    invoked: int
    text: str | None
    answer: Answer | None = None
    failed: bool = False


@dataclass(slots=True)
class Reacting:
    """A reaction that somebody asked for, or took back. `index` is that of its answer; None if it is unknown whether it
    was done, 0 if it was not."""

    add: bool
    invoked: int
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Acked:
    """An acked event of an application."""

    epoch: str
    offset: int
    invoked: int
    index: int


@dataclass(slots=True)
class Ledger:
    """The sorted history."""

    source: Iterable[Record]
    records: list[Record] = field(init=False)
    invokes: dict[int, Record] = field(default_factory=dict)  # by operation
    sends: dict[tuple[str, str, str], Sent] = field(default_factory=dict)  # by channel, author and key
    edits: defaultdict[tuple[str, str], list[Asked]] = field(default_factory=lambda: defaultdict(list))
    deletions: defaultdict[tuple[str, str], list[Asked]] = field(default_factory=lambda: defaultdict(list))
    answers: list[Answer] = field(default_factory=list)  # in the order of the history
    places: defaultdict[tuple[str, str, int], list[Told]] = field(default_factory=lambda: defaultdict(list))
    keyed: defaultdict[tuple[str, str, str], list[tuple[str, int, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    epochs: dict[tuple[str, str], int] = field(default_factory=dict)  # the first record that has it, by channel
    readers: defaultdict[tuple[str, str], list[Record]] = field(default_factory=lambda: defaultdict(list))
    logs: dict[str, Json] = field(default_factory=dict)  # the final log of each channel
    final: dict[str, dict[str, Json]] = field(default_factory=dict)  # its messages, by id
    faults: list[Record] = field(default_factory=list)
    published: dict[tuple[str, str, str], tuple[int, tuple[str, Any]]] = field(default_factory=dict)
    """When it was first asked for, its name and its data, by channel, author and key."""
    records_keyed: defaultdict[tuple[str, str, str], list[Acked]] = field(default_factory=lambda: defaultdict(list))
    record_logs: dict[str, Json] = field(default_factory=dict)  # the final events of applications of each channel
    reactions: defaultdict[tuple[str, str, str, str], list[Reacting]] = field(default_factory=lambda: defaultdict(list))
    """By channel, message, emoji and user."""
    marks: defaultdict[tuple[str, str], list[Record]] = field(default_factory=lambda: defaultdict(list))
    """The answers to marks, by user and channel."""
    _asked: dict[int, Asked] = field(default_factory=dict)  # by operation
    _reacting: dict[int, Reacting] = field(default_factory=dict)  # by operation

    def __post_init__(self) -> None:
        self.records = list(self.source)
        for record in self.records:
            if record.process == NEMESIS:
                self.faults.append(record)
            elif record.kind == "invoke":
                self._invoked(record)
            else:
                self._ended(record)

    # What faults excuse

    def excused(self, answer: Answer) -> bool:
        """Whether a fault made the store lose what was acked then."""
        return self.loses(answer.channel, answer.invoked, answer.index)

    def loses(self, channel: str, invoked: int, index: int) -> bool:
        """Whether a fault made the store lose what was asked for and acked then."""
        return any(
            fault.value["loses_since"] <= index and invoked < fault.index
            for fault in self._of(channel)
            if "loses_since" in fault.value
        )

    def forgotten(self, sent: tuple[str, str, str], epoch: str) -> bool:
        """Whether Redis may have written a message again in this epoch, since a key of its channel was evicted.

        That was after the message was first sent, and the channel had the epoch only afterwards."""
        return self.evicted(sent[0], self.sends[sent].invoked, epoch)

    def evicts(self, channel: str, index: int) -> bool:
        """Whether single keys of a channel were evicted before a record."""
        return any("evicts_since" in fault.value and fault.index < index for fault in self._of(channel))

    def evicted(self, channel: str, invoked: int, epoch: str) -> bool:
        """Whether a key that was first given then may have been evicted before the channel had this epoch."""
        return any(
            invoked < fault.index and fault.value["evicts_since"] < self.epochs[channel, epoch]
            for fault in self.faults
            if "evicts_since" in fault.value and fault.value["channel"] == channel
        )

    def resetting(self, channel: str) -> list[Record]:
        """Return the faults after which the epoch may change."""
        return [fault for fault in self._of(channel) if fault.value.get("resets") or "loses_since" in fault.value]

    def _of(self, channel: str) -> list[Record]:
        return [fault for fault in self.faults if fault.value.get("channel") in {None, channel}]

    # Questions of the rules

    def possible(self, edit: Answer) -> set[str | None]:
        """Return the texts that a message may have after an acked edit: its own, or that of a later edit."""
        return {edit.text} | {
            asked.text
            for asked in self.edits[edit.channel, edit.id]
            if not asked.failed and (asked.answer is None or asked.answer.offset > edit.offset)
        }

    def unasked(self, channel: str, told: Told) -> str:
        """Return why nobody asked for an event in this form; nothing if somebody did."""
        if told.event == "reacted":
            return self._unasked_reactions(channel, told)
        if told.event == "published":
            asked_for = self.published.get((channel, told.author or "", told.key or ""))
            sound = asked_for is not None and asked_for[0] < told.index and asked_for[1] == (told.id, told.state)
            return "" if sound else "nobody published it so"
        if told.event == "deleted":
            asked = self.deletions[channel, told.id]
            return "" if any(each.invoked < told.index for each in asked) else "nobody deleted it"
        if told.text is None:
            asked = self.deletions[channel, told.id]
            return "" if any(each.invoked < told.index for each in asked) else "nobody deleted it, and the text is gone"
        texts = {each.text for each in self.edits[channel, told.id] if each.invoked < told.index}
        if told.key is None or told.author is None:
            return "" if told.text in texts else "nobody edited it so"
        sent = self.sends.get((channel, told.author, told.key))
        if sent is None or sent.invoked > told.index:
            return "nobody sent it"
        if told.event == "edited":
            return "" if told.text in texts else "nobody edited it so"
        return "" if told.text in texts | {sent.text} else f"it was sent as {sent.text!r}"

    def _unasked_reactions(self, channel: str, told: Told) -> str:
        for emoji, reacted in told.state.items():
            for user in reacted["users"]:
                asked = self.reactions.get((channel, told.id, emoji, user), [])
                if not any(each.add and each.invoked < told.index for each in asked):
                    return f"{user} never reacted with {emoji}"
        return ""

    def pages(self) -> Iterator[tuple[Record, Record]]:
        """Yield the pages of the history, each with its question."""
        for record in self.records:
            if record.name == "history" and record.kind == "ok":
                yield record, self.invokes[record.op]

    def texts(self) -> Iterator[tuple[Record, Record, Json]]:
        """Yield every message with a text that an answer holds: the answer, its question, the message."""
        for record in self.records:
            if record.kind != "ok" or record.op == 0:
                continue
            values = {"history": "messages", "join": "events"}.get(record.name)
            for value in [record.value] if values is None else record.value[values]:
                if value.get("text") is not None:
                    yield record, self.invokes[record.op], value

    # Sorting

    def _invoked(self, record: Record) -> None:
        value = record.value
        self.invokes[record.op] = record
        if record.name == "send":
            self.sends.setdefault((value["channel"], value["author"], value["key"]), Sent(value["text"], record.index))
        elif record.name in {"edit", "delete"}:
            asked = self._asked[record.op] = Asked(record.index, value.get("text"))
            (self.edits if record.name == "edit" else self.deletions)[value["channel"], value["id"]].append(asked)
        elif record.name == "react":
            key = value["channel"], value["id"], value["emoji"], value["user"]
            self._reacting[record.op] = Reacting(value["add"], record.index)
            self.reactions[key].append(self._reacting[record.op])
        elif record.name == "publish":
            content = record.index, (value["name"], value["data"])
            self.published.setdefault((value["channel"], value["author"], value["key"]), content)
        elif record.name == "join":
            self.readers[record.process, value["channel"]].append(record)

    def _ended(self, record: Record) -> None:
        value = record.value
        if "epoch" in value:
            channel = value["channel"] if "channel" in value else self.invokes[record.op].value["channel"]
            self.epochs.setdefault((channel, value["epoch"]), record.index)
        if record.name in WRITES:
            self._written(record, self.invokes[record.op].value)
        elif record.name in PEOPLE:
            self._ended_of_people(record, value)
        elif record.name in {"join", "reset"} and record.kind == "ok":
            self.readers[record.process, value["channel"]].append(record)
            for event in value["events"]:
                self._told(record.index, event)
        elif record.name == "event":
            self.readers[record.process, value["channel"]].append(record)
            self._told(record.index, value)
        elif record.name in {"history", "log"} and record.kind == "ok":
            for each in value["messages"]:
                self._stands(record, each)
            if record.name == "log":
                self.logs[value["channel"]] = value
                self.final[value["channel"]] = {each["id"]: each for each in value["messages"]}

    def _ended_of_people(self, record: Record, value: Json) -> None:
        if record.name == "react":
            self._reacting[record.op].index = {"ok": record.index, "fail": 0}.get(record.kind)
        elif record.name == "publish" and record.kind == "ok":
            asked = self.invokes[record.op]
            acked = Acked(value["epoch"], value["offset"], asked.index, record.index)
            self.records_keyed[asked.value["channel"], asked.value["author"], asked.value["key"]].append(acked)
        elif record.name in {"mark", "look"} and record.kind == "ok":
            self.marks[self.invokes[record.op].value["user"], self.invokes[record.op].value["channel"]].append(record)
        elif record.name == "record log":
            self.record_logs[value["channel"]] = value
            for event in value["events"]:
                self._told(record.index, event)

    def _written(self, record: Record, asked: Json) -> None:
        if record.name == "send":
            sent = self.sends[asked["channel"], asked["author"], asked["key"]]
            sent.ended = sent.ended or record.kind in {"ok", "fail"}
            began, text = sent.invoked, asked["text"]
        else:
            # A further deletion is answered with the place of the first.
            first = (
                self.deletions[asked["channel"], asked["id"]] if record.name == "delete" else [self._asked[record.op]]
            )
            began, text = first[0].invoked, asked.get("text")
            self._asked[record.op].failed = record.kind == "fail"
        if record.kind != "ok":
            return
        id = record.value["id"] if record.name == "send" else asked["id"]
        place = record.value["epoch"], record.value["offset"]
        invoked = self.invokes[record.op].index
        answer = Answer(record.name, asked["channel"], id, *place, text, began, invoked, record.index)
        self.answers.append(answer)
        told = Told(record.index, KINDS[record.name], id, None, asked.get("author"), asked.get("key"), text)
        self.places[answer.channel, *place].append(told)
        if record.name == "send":
            self.keyed[answer.channel, asked["author"], asked["key"]].append((*place, record.index))
        else:
            self._asked[record.op].answer = answer

    def _told(self, index: int, event: Json) -> None:
        place = event["channel"], event["epoch"], event["offset"]
        parts = {part: event[part] for part in ("event", "id", "at", "author", "key", "text")}
        self.places[place].append(Told(index, **parts, state=event.get("state")))
        if event["event"] == "created" and event["key"] is not None:
            self.keyed[event["channel"], event["author"], event["key"]].append((*place[1:], index))

    def _stands(self, record: Record, message: Json) -> None:
        """Note a message in a page: its offset is that of its creation, its text may be a later one."""
        place = record.value["channel"], record.value["epoch"], message["offset"]
        parts = (message["author"], message["key"], message["text"])
        told = Told(record.index, "created", message["id"], None, *parts, late=True)
        self.places[place].append(told)
        if message["key"] is not None:
            self.keyed[place[0], message["author"], message["key"]].append((*place[1:], record.index))

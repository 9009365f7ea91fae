"""Judges a history: every promise about what is acked and seen, held against everything that any client was told.

The log gives each event an offset, and clients are told it, so no search for an order is needed, as it is for a
register: the order is in the history, and each rule is a walk over it. In the words of Jepsen, an `ok` answer must be
in the final log; an `info` operation may be or not.
"""

import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.jepsen import people_rules
from tests.jepsen.history import NEMESIS, Json, Record
from tests.jepsen.ledger import WRITES, Answer, Ledger

UNHEARD_S = 5.0
"""So long after a deletion was acked, a replica that has not heard of it may replay the message. Answers that read the
log may not, and no answer that goes as far as the deletion."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise. `kind` is one of `RULES`' words, `records` are indexes in the history."""

    kind: str
    channel: str
    story: str
    records: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The violations, and figures that say how much was tried."""

    violations: Sequence[Violation]
    figures: Counter[str]
    faults: Counter[str]

    def kinds(self) -> set[str]:
        """Return the kinds of violations."""
        return {violation.kind for violation in self.violations}


def check(records: Iterable[Record]) -> Verdict:
    """Judge a history."""
    ledger = Ledger(records)
    violations = [violation for rule in RULES for violation in rule(ledger)]
    violations += [Violation(*fault) for rule in people_rules.RULES for fault in rule(ledger)]
    faults = Counter(
        record.name for record in ledger.records if record.process == NEMESIS and "ends" not in record.value
    )
    return Verdict(violations, figures(ledger), faults)


def figures(ledger: Ledger) -> Counter[str]:
    """Count what was done."""
    found: Counter[str] = Counter()
    for record in ledger.records:
        if record.process == NEMESIS:
            continue
        found["operations"] += record.kind == "invoke"
        found["acked"] += record.kind == "ok" and record.name in WRITES
        found["unknown"] += record.kind == "info" and record.name in WRITES
        found["events heard"] += record.name == "event"
        for name in ("react", "mark", "publish"):
            found[f"{name} acked"] += record.kind == "ok" and record.name == name
        found["duplicates"] += record.kind == "ok" and record.name == "send" and record.value["duplicate"]
        if record.name in {"join", "reset"} and record.kind == "ok":
            found["events heard"] += len(record.value["events"])
            found["resets told"] += record.value["recovered"] is False
    found["epochs"] = len({(channel, epoch) for channel, epoch, _ in ledger.places})
    return found


# Rules


def lost(ledger: Ledger) -> Iterator[Violation]:
    """An acked message, edit or deletion is in the final log, or the epoch has changed because the store lost it."""
    for answer in ledger.answers:
        log = ledger.logs.get(answer.channel)
        if log is None:
            continue
        missing = _missing(ledger, answer, log)
        if missing and (answer.epoch == log["epoch"] or not ledger.excused(answer)):
            told = "in the same epoch" if answer.epoch == log["epoch"] else "and nothing made the store lose it"
            yield Violation("lost", answer.channel, f"{answer}: {missing}, {told}", (answer.invoked, answer.index))


def _missing(ledger: Ledger, answer: Answer, log: Json) -> str:
    """Return what the final log lacks of an answer; nothing if it has all."""
    found = ledger.final[answer.channel].get(answer.id)
    if found is None:
        return "the message is not in the log"
    if answer.name == "send":
        return "" if found["offset"] == answer.offset else f"the message is at offset {found['offset']}"
    if found["text"] is None:
        return "" if ledger.deletions[answer.channel, answer.id] else "the message is deleted"
    if answer.name == "delete":
        return "the message is there"
    return "" if found["text"] in ledger.possible(answer) else f"the text is {found['text']!r}"


def doubled(ledger: Ledger) -> Iterator[Violation]:
    """A key is one message in an epoch, unless Redis lost keys before that epoch."""
    for sent, offsets in ledger.keyed.items():
        channel, author, key = sent
        by_epoch: dict[str, dict[int, int]] = defaultdict(dict)
        for epoch, offset, index in offsets:
            by_epoch[epoch].setdefault(offset, index)
        for epoch, found in by_epoch.items():
            if len(found) > 1 and not ledger.forgotten(sent, epoch):
                story = f"the key {key} of {author} is at {sorted(found)} in {epoch}"
                yield Violation("doubled", channel, story, tuple(found.values()))


def rewritten(ledger: Ledger) -> Iterator[Violation]:
    """A place (epoch, offset) holds the same event for everybody, for ever."""
    for (channel, epoch, offset), told in ledger.places.items():
        first = told[0]
        for each in told[1:]:
            if each.differs(first):
                story = f"{offset} of {epoch} is {first} and {each}"
                yield Violation("rewritten", channel, story, (first.index, each.index))
                break


def invented(ledger: Ledger) -> Iterator[Violation]:
    """Every event was asked for before it was told, by the author and with the text that it has."""
    for (channel, epoch, offset), told in ledger.places.items():
        for each in told:
            if problem := ledger.unasked(channel, each):
                yield Violation("invented", channel, f"{offset} of {epoch}: {each}: {problem}", (each.index,))
                break


def streams(ledger: Ledger) -> Iterator[Violation]:
    """A reader gets the events of a channel one after the other, and is told of every break."""
    for (process, channel), records in ledger.readers.items():
        yield from _Stream(ledger, process, channel).judge(records)


class _Stream:
    """What one reader was told of one channel."""

    def __init__(self, ledger: Ledger, process: str, channel: str) -> None:
        self._ledger, self._process, self._channel = ledger, process, channel
        self._position: tuple[str, int] | None = None
        self._since: tuple[str, int] | None = None
        self._given: set[tuple[str, int]] = set()

    def judge(self, records: Sequence[Record]) -> Iterator[Violation]:
        for record in records:
            if record.name == "event":
                yield from self._event(record, record.value)
            elif record.kind == "invoke":
                since = record.value.get("since")
                self._since = None if since is None else (since["epoch"], since["offset"])
            elif record.kind == "ok":
                yield from self._answer(record)
        yield from self._end(records[-1])

    def _event(self, record: Record, event: Json) -> Iterator[Violation]:
        here = event["epoch"], event["offset"]
        if self._position is None:
            yield self._broken("untold", f"{here} before an answer", record)
        elif here[0] != self._position[0]:
            yield self._broken("untold", f"{here} after {self._position}", record)
        elif here in self._given:
            yield self._broken("doubled", f"{here} a second time, at {self._position}", record)
        elif here[1] <= self._position[1]:
            yield self._broken("reordered", f"{here} after {self._position}", record)
        elif here[1] > self._position[1] + 1:
            yield self._broken("hole", f"{here} after {self._position}", record)
        if self._position is None or here[0] != self._position[0] or here[1] > self._position[1]:
            self._position = here
        self._given.add(here)

    def _answer(self, record: Record) -> Iterator[Violation]:
        value, since = record.value, self._position if record.name == "reset" else self._since
        here = value["epoch"], value["offset"]
        if value["recovered"] is True and since is not None:
            yield from self._recovered(record, since, here)
        elif value["recovered"] is False and value["reason"] == "ahead_of_log" and since and here[0] == since[0]:
            yield self._broken("rewritten", f"{since} is ahead of the log at {here}, in the same epoch", record)
        elif value["recovered"] is False and since and here[0] != since[0]:
            yield from self._changed(record, since, here)
        self._position = here

    def _recovered(self, record: Record, since: tuple[str, int], here: tuple[str, int]) -> Iterator[Violation]:
        if here[0] != since[0]:
            yield self._broken("rewritten", f"recovered from {since} to {here}", record)
            return
        self._position = since
        for event in record.value["events"]:
            yield from self._event(record, event)
        if self._position != here:
            yield self._broken("hole", f"recovered from {since} to {here}, events up to {self._position}", record)

    def _changed(self, record: Record, since: tuple[str, int], here: tuple[str, int]) -> Iterator[Violation]:
        if not any(fault.index < record.index for fault in self._ledger.resetting(self._channel)):
            yield self._broken("needless", f"the epoch changed at {since} to {here}, and no fault explains it", record)

    def _end(self, last: Record) -> Iterator[Violation]:
        log = self._ledger.logs.get(self._channel)
        if log is None or self._position is None or self._position == (log["epoch"], log["offset"]):
            return
        kind = "hole" if self._position[0] == log["epoch"] else "untold"
        story = f"stands at {self._position} at the end, the log at {(log['epoch'], log['offset'])}"
        yield self._broken(kind, story, last)

    def _broken(self, kind: str, story: str, record: Record) -> Violation:
        return Violation(kind, self._channel, f"{self._process}: {story}", (record.index,))


def reordered(ledger: Ledger) -> Iterator[Violation]:
    """What was acked before a command began has a lower place than that command's event."""
    by_epoch: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for answer in ledger.answers:
        by_epoch[answer.channel, answer.epoch].append(answer)
    for (channel, epoch), answers in by_epoch.items():
        earliest: Answer | None = None  # acked, of all with higher offsets
        for answer in sorted(answers, key=lambda each: -each.offset):
            if earliest is not None and earliest.offset > answer.offset and earliest.index < answer.began:
                story = f"in {epoch}, {earliest} was acked before {answer} began"
                yield Violation("reordered", channel, story, (earliest.index, answer.began, answer.index))
            if earliest is None or answer.index < earliest.index:
                earliest = answer


def inverted(ledger: Ledger) -> Iterator[Violation]:
    """An author's messages stand in the order in which they were first sent, however often each was repeated."""
    newest: dict[tuple[str, str, str], tuple[int, str]] = {}  # by channel, author and epoch
    for sent in sorted(ledger.sends, key=lambda each: ledger.sends[each].invoked):
        channel, author, key = sent
        first: dict[str, int] = {}
        for epoch, offset, _ in ledger.keyed.get(sent, ()):
            first[epoch] = min(offset, first.get(epoch, offset))
        for epoch, offset in first.items():
            if ledger.forgotten(sent, epoch):
                continue
            before, other = newest.get((channel, author, epoch), (0, ""))
            if offset < before:
                story = f"{key} of {author} stands at {offset} of {epoch}, and {other}, sent before, at {before}"
                yield Violation("inverted", channel, story, (ledger.sends[sent].invoked,))
            else:
                newest[channel, author, epoch] = offset, key


def stale(ledger: Ledger) -> Iterator[Violation]:
    """A page of the history has everything that was acked before it was asked for, in its epoch and range."""
    acked: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for answer in ledger.answers:
        if answer.name == "send":
            acked[answer.channel, answer.epoch].append(answer)
    for page, asked in ledger.pages():
        value = page.value
        answers = acked[value["channel"], value["epoch"]]
        before = answers[: bisect.bisect_left(answers, asked.index, key=lambda answer: answer.index)]
        top = asked.value.get("before") or value["offset"] + 1
        found = {each["offset"] for each in value["messages"]}
        bottom = min(found, default=0) if value["more"] else 0
        for answer in before:
            beyond = answer.offset > value["offset"]
            if beyond or (bottom <= answer.offset < top and answer.offset not in found):
                story = f"{page.process} reads up to {value['offset']} without {answer}"
                yield Violation("stale", value["channel"], story, (answer.index, asked.index, page.index))
                break


def undeleted(ledger: Ledger) -> Iterator[Violation]:
    """After a deletion was acked, no answer to a later question has the text of the message."""
    deleted = {
        (answer.channel, answer.id): answer
        for answer in sorted(ledger.answers, key=lambda each: -each.index)
        if answer.name == "delete"
    }
    for record, asked, value in ledger.texts():
        deletion = deleted.get((record.value.get("channel") or asked.value["channel"], value["id"]))
        if deletion is None or deletion.index > asked.index:
            continue
        epoch, offset = record.value["epoch"], record.value["offset"]
        if epoch != deletion.epoch and ledger.excused(deletion):
            continue
        late = asked.at - ledger.records[deletion.index].at
        if record.name == "join" and offset < deletion.offset and late < UNHEARD_S:
            continue
        story = f"{record.process} is given {value['text']!r} in {record.name}, {late:.3f} s after {deletion}"
        yield Violation("undeleted", deletion.channel, story, (deletion.index, asked.index, record.index))


def stuck(ledger: Ledger) -> Iterator[Violation]:
    """Every message that is repeated is acked or refused when all faults have ended."""
    for (channel, author, key), sent in ledger.sends.items():
        if not sent.ended:
            yield Violation("stuck", channel, f"the key {key} of {author} was never answered", (sent.invoked,))


RULES: tuple[Callable[[Ledger], Iterator[Violation]], ...] = (
    lost,
    doubled,
    rewritten,
    invented,
    streams,
    reordered,
    inverted,
    stale,
    undeleted,
    stuck,
)

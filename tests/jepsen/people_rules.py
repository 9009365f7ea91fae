"""Rules about reactions, marks and events of applications: as those of `checker.py`."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from tests.jepsen.history import Json
from tests.jepsen.ledger import Acked, Ledger, Reacting

Fault = tuple[str, str, str, tuple[int, ...]]
"""The kind of a violation, the channel, the story, and the records."""

SHOWN = 10
"""Users that are named with an emoji."""


def unpublished(ledger: Ledger) -> Iterator[Fault]:
    """An acked event is in the final log, once, at its place, unless the store lost it; its key is one event."""
    for (channel, author, key), acks in ledger.records_keyed.items():
        by_epoch: dict[str, dict[int, Acked]] = defaultdict(dict)
        for acked in acks:
            by_epoch[acked.epoch].setdefault(acked.offset, acked)
        for epoch, places in by_epoch.items():
            if len(places) > 1 and not ledger.evicted(channel, ledger.published[channel, author, key][0], epoch):
                records = tuple(each.index for each in places.values())
                yield "doubled", channel, f"the event {key} of {author} is at {sorted(places)} in {epoch}", records
        log = ledger.record_logs.get(channel)
        if log is None:
            continue
        found = [each["offset"] for each in log["events"] if (each["author"], each["key"]) == (author, key)]
        if len(found) > 1 and not ledger.evicted(channel, ledger.published[channel, author, key][0], log["epoch"]):
            yield "doubled", channel, f"the event {key} of {author} is in the log at {found}", (acks[0].index,)
        for acked in acks:
            here = acked.epoch == log["epoch"]
            kept = acked.offset in found if here else bool(found)
            if not kept and (here or not ledger.loses(channel, acked.invoked, acked.index)):
                story = f"the event {key} was acked at {acked.offset} of {acked.epoch}, the log has it at {found}"
                yield "lost", channel, story, (acked.invoked, acked.index)


def reactions(ledger: Ledger) -> Iterator[Fault]:
    """In the end each user reacts as their last answer says; without an answer, either way."""
    for (channel, id, emoji, user), asked in ledger.reactions.items():
        message = ledger.final.get(channel, {}).get(id)
        if message is None or message["text"] is None:
            continue
        state = message.get("reactions", {}).get(emoji, {"count": 0, "users": []})
        if state["count"] > SHOWN:
            continue
        if state["count"] != len(state["users"]):
            yield "reactions", channel, f"{state} with {emoji} on {id[-8:]} contradicts itself", (asked[-1].invoked,)
            return
        may_be = _possible(ledger, channel, asked)
        if (user in state["users"]) not in may_be:
            story = f"{user} with {emoji} on {id[-8:]}: the log says {user in state['users']}, answers say {may_be}"
            yield "reactions", channel, story, tuple(each.index or each.invoked for each in asked[-3:])


def _possible(ledger: Ledger, channel: str, asked: list[Reacting]) -> set[bool]:
    """Return how a user may react after these acts. An act that is not known to be done, or that the store lost, leaves
    the state before it possible."""
    possible, evicted = {False}, ledger.evicts(channel, len(ledger.records))
    for each in asked:
        if each.index == 0:
            continue
        sure = each.index is not None and not ledger.loses(channel, each.invoked, each.index) and not evicted
        possible = {each.add} if sure else possible | {each.add}
    return possible


def marks(ledger: Ledger) -> Iterator[Fault]:
    """Marks never go back, and at the end exactly the messages behind the mark are unread."""
    for (user, channel), records in ledger.marks.items():
        for record in records:
            value = record.value
            if not 0 <= value["unread_mentions"] <= value["unread"]:
                yield "marks", channel, f"{user}: {value}", (record.index,)
        for before, after in pairwise(records):
            if after.value["mark"] < before.value["mark"] and not _reset(ledger, channel, after.index):
                story = f"{user}: {after.value} after {before.value}"
                yield "marks", channel, story, (before.index, after.index)
        yield from _unread(ledger, user, channel, records[-1].value, records[-1].index)


def _reset(ledger: Ledger, channel: str, after: int) -> bool:
    """Whether the log, or a mark, may have been lost before an answer."""
    return any(fault.index < after for fault in ledger.resetting(channel)) or ledger.evicts(channel, after)


def _unread(ledger: Ledger, user: str, channel: str, value: Json, index: int) -> Iterator[Fault]:
    """The last answer is a look at the end, when nobody writes: the final log tells what is unread."""
    log = ledger.logs.get(channel)
    if log is None or ledger.records[index].name != "look":
        return
    unread = sum(each["offset"] > value["mark"] and each["text"] is not None for each in log["messages"])
    if value["unread"] != unread:
        yield "marks", channel, f"{user}: {value} at the end, and {unread} messages are behind the mark", (index,)


RULES = (unpublished, reactions, marks)

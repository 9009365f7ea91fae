"""The message log in Redis: a stream per channel, written by a single script, so that any number of replicas share it.

As durable as Redis is set to be: with `appendfsync always` an acked message is on disk, with `everysec` a crash of
Redis may take the last second with it (docs/operations.md).
"""

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any, Self

import structlog

from server.adapters.codec import DecodeError
from server.adapters.redis import keys, ways
from server.adapters.redis.clocks import Clocks
from server.adapters.redis.connection import UNKNOWN_RUN
from server.adapters.redis.entries import decode_entry
from server.adapters.redis.master import Master
from server.adapters.redis.outcomes import Change, Outcome, outcome
from server.adapters.redis.own import OwnEvents
from server.adapters.redis.pipeline import RUN
from server.adapters.redis.scripts import APPEND, APPEND_OTHERS, OPENING, Script, script_text
from server.adapters.redis.seen import Seen, SeenEvents, head_of
from server.adapters.redis.states import state_of, there
from server.adapters.redis.sweep import Sweep, Tended
from server.adapters.seal import Seal
from server.domain.appending import Appended
from server.domain.channels import ChannelName
from server.domain.drafts import Draft, Sender
from server.domain.errors import MaruError, Unavailable
from server.domain.events import Event, MessageCreated
from server.domain.gcra import Rate, pace
from server.domain.messages import Message, MessageId, Position, Tombstone
from server.domain.retention import Retention
from server.domain.rules import Rule
from server.ports.message_log import Done, MessageLog, Page, Replay

Topic = Callable[[ChannelName], str]

_log = structlog.get_logger("maru.log")


class RedisMessageLog(MessageLog):
    """A `MessageLog` over Redis 7. `url` is that of `link.connect`; bounds are as in the other adapters.

    Age counts by Redis' clock. While this process' clock is minutes from it, this process lets nothing age. `master` is
    shared with the other connections of the process. `rate` is that of a channel's events, of all replicas together, by
    Redis' clock. An append is answered once `wait_replicas` have it.
    """

    def __init__(  # noqa: PLR0913  # all but two by name
        self,
        url: str,
        master: Master | None = None,
        *,
        max_events: int,
        max_age_ms: int,
        rules: Mapping[str, Rule] | None = None,
        rate: Rate | None = None,
        prefix: str = keys.PREFIX,
        wait_replicas: int = 0,
        clocks: Clocks | None = None,
    ) -> None:
        master = master or Master()
        # One connection: with two, drafts of a channel meet less often in a call, and nothing gets quicker.
        self._appends = ways.appends(url, master, wait_replicas, self._call, self._outcomes)
        self._scripts = [self._appends.script(script_text(*names)) for names in (APPEND, APPEND_OTHERS)]
        self._topic: Topic | None = None  # of the hints that the log publishes
        self.reads = ways.pipeline(url, master)
        self.marks = ways.pipeline(url, master, wait_replicas)  # changes that are no events
        names = ("read", "message", "history")
        self._read, self._message, self._history = (Script(self.reads, *OPENING, name) for name in names)
        self._tend = Script(self.reads, "channel", "losses", "tend")
        self._seen = SeenEvents()
        self.own = OwnEvents()  # whose hints are under way
        self.sweep = Sweep(self.reads, self.tend, prefix, max_age_ms, self._seen.answered)
        self._epochs = (f"{prefix}{number:x}" for prefix in [secrets.token_hex(8)] for number in count())
        self._damaged = False  # the last answer held an entry that can't be read
        self._kept, self._clocks = Retention(max_events, max_age_ms, rules).of, clocks or Clocks()
        self.prefix = prefix
        paced = None if rate is None else pace(rate)
        self._rate = ("", "") if paced is None else (paced.interval * 1_000, paced.room * 1_000)  # ms

    async def __aenter__(self) -> Self:
        return self

    def hint_on(self, topic: Topic, seal: Seal) -> None:
        """Publish the hint at each event in the call that writes the event; `topic` names where a channel is heard.

        Does nothing with `wait_replicas` or Sentinel: there an event may be lost after it was written, and nobody is to
        hear of it before it is kept."""
        if self._appends.keeps_at_once:
            self._topic = topic
            texts = [seal.in_script(script_text(*names)) for names in (APPEND, APPEND_OTHERS)]
            self._scripts = [self._appends.script(text) for text in texts]

    async def __aexit__(self, *_: object) -> None:
        await self._appends.aclose()
        await self.reads.aclose()
        await self.marks.aclose()

    def append(self, draft: Draft) -> asyncio.Future[Appended]:
        """Call a script; drafts that wait for the same channel share the call."""
        return self.change(draft)

    def change(self, draft: Change) -> asyncio.Future[Any]:
        """As `append`, also for reactions and events of applications: see `Outcome`."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._appends.submit(draft, None, partial(_resolve, answer))
        return answer

    def submit(self, draft: Draft, sender: Sender, done: Done) -> None:
        """As `append`. Promise 12."""
        self._appends.submit(draft, sender, done)

    @property
    def crowded(self) -> bool:
        return self._appends.crowded

    def _call(self, channel: ChannelName, others: bool) -> Sequence[Any]:
        """Return the words of a call of append.lua, up to the drafts."""
        authors, rate = keys.authors(keys.partition(channel), self.prefix), keys.rate(channel, self.prefix)
        names = (*self.keys(channel), authors, rate)
        topic = "" if self._topic is None else self._topic(channel)
        opening = self.opening(channel)
        script, kept = self._scripts[others], self._kept(channel).events
        return ("EVALSHA", script, len(names), *names, *opening, kept, topic, *self._rate)

    def _outcomes(self, channel: ChannelName, drafts: Sequence[Change], answer: Any) -> list[Outcome]:
        epoch, published, *answers = answer
        name, hinted = epoch.decode(), published == b"1" and self._topic is not None
        outcomes = [self._outcome(draft, name, each, hinted) for draft, each in zip(drafts, answers, strict=True)]
        if events := [each.event for each in outcomes if not isinstance(each, MaruError) and each.event is not None]:
            last = max(events, key=_offset)
            self._seen.note(channel, Seen(last.epoch, last.offset, last.at))
        if hinted and self._seen.hosts(channel):
            self._expect_hints(outcomes)
        return outcomes

    def _expect_hints(self, outcomes: Sequence[Outcome]) -> None:
        for each in outcomes:
            if isinstance(each, Appended) and not each.duplicate and isinstance(each.event, MessageCreated):
                self.own.add(each.event)

    def _outcome(self, draft: Change, epoch: str, answer: Any, hinted: bool) -> Outcome:
        try:
            with self.readable(draft.channel):
                return outcome(draft, epoch, answer, hinted)
        except Unavailable as error:
            return error

    async def read(self, channel: ChannelName, after: int, limit: int) -> Replay:
        """Call a script."""
        epoch, head, at, floor, entries = await self._read(self.keys(channel), *self.opening(channel), after, limit)
        position = head_of(channel, epoch, head, at, self._seen.hear)
        with self.readable(channel):
            events = [
                decode_entry(channel, position.epoch, offset, there(packed))
                for offset, packed in enumerate(entries, after + 1)
            ]
        return Replay(int(floor), position, events)

    async def message(self, channel: ChannelName, id: MessageId) -> Message | Tombstone | None:
        """Call a script."""
        found = await self._message(self.keys(channel), *self.opening(channel), id)
        with self.readable(channel):
            return state_of(channel, found) if found else None

    async def history(self, channel: ChannelName, before: int | None, after: int | None, limit: int) -> Page:
        """Call a script."""
        epoch, head, at, more, found = await self._history(
            self.keys(channel),
            *self.opening(channel),
            "" if before is None else before,
            "" if after is None else after,
            limit,
        )
        position = self.head(channel, epoch, head, at)
        with self.readable(channel):
            states = [state_of(channel, each) for each in found]
        return Page(states, position, more == b"1")

    def head(self, channel: ChannelName, epoch: bytes, head: bytes, at: bytes) -> Position:
        """Return the position of the channel's head as a script tells it, and remember it."""
        return head_of(channel, epoch, head, at, self._seen.note)

    def note(self, event: Event) -> None:
        """Remember the event if it is the channel's last so far."""
        self._seen.hear(event.channel, Seen(event.epoch, event.offset, event.at))

    async def tend(self, channel: ChannelName, limit: int) -> Tended:
        """Remove at most `limit` of the channel's events that are not kept any more, and forget the channel once all
        its events and keys are too old. Raises as `read`."""
        opening = (*self.opening(channel, UNKNOWN_RUN), limit)
        removed, more, agreed = await self._tend(self.keys(channel), *opening)
        return Tended(int(removed), more == b"1", agreed == b"1")

    @contextmanager
    def readable(self, channel: ChannelName) -> Iterator[None]:
        """Raise `Unavailable` instead of `DecodeError`, and log the first of a row of them."""
        try:
            yield
        except DecodeError as error:
            if not self._damaged:
                _log.error("message_log.unreadable", channel=channel, error=str(error))
            self._damaged = True
            raise Unavailable("the message log can't be read") from error
        self._damaged = False

    def keys(self, channel: ChannelName) -> tuple[str, ...]:
        """Return the keys of `channel.lua`."""
        return keys.of_channel(channel, self.prefix)[:-1]

    def opening(self, channel: ChannelName, run: object = RUN) -> tuple[Any, ...]:
        """Return the arguments of `channel.lua`."""
        seen = self._seen.last(channel)
        return (
            next(self._epochs),
            *(("", "", "") if seen is None else seen),
            run,
            "" if self._clocks.store is None else self._clocks.store(),
            self._clocks.own() if self.sweep.trusted else "",
            self._kept(channel).age_ms,
            channel,
            keys.bucket(channel),
            keys.of_channel(channel, self.prefix)[-1],
            "1" if self._seen.hosts(channel) else "",
        )


def _offset(event: Event) -> int:
    return event.offset


def _resolve(answer: asyncio.Future[Any], outcome: Any) -> None:
    if answer.done():  # the caller has given up
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)

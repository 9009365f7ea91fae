"""The records of a topic, brought in: by the replicas as a group, in the order of each partition, once at least.

A record's place is kept in Kafka behind the writing, so that a kill repeats records: writing is to be idempotent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

import structlog
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from server.adapters.kafka.client import Options, name_of, with_common
from server.adapters.kafka.incoming import Incoming, incoming, place_of
from server.adapters.kafka.producer import Records
from server.adapters.refusals import Refusals
from server.domain.errors import MaruError, Unavailable

BATCH = 200
"""Records that are taken at once."""

UNDER_WAY = 64
"""Records of a partition that are being written."""

WAIT_S = 0.5
"""For the next record."""

RETRY_S = 0.5
"""A record is tried again so much later if the log is away, or the channel takes no more."""

BREATHE_S = 1.0
"""While a batch takes its time, Kafka hears of this consumer so often: else its partitions go to another."""

SESSION_MS, HEARTBEAT_MS = 6_000, 1_500
"""The partitions of a replica that was killed go to another after so long."""

REBALANCE_MS = 15_000
"""The group waits so long for members that are to join again, at most; every member polls each second or two."""

TOO_LARGE = "MSG_SIZE_TOO_LARGE"
"""Kafka's name of the error: the client, or the topic, takes no record of this size."""

T = TypeVar("T")

_log = structlog.get_logger("maru.kafka")


Write = Callable[[Sequence[Incoming]], Sequence[Awaitable[None]]]
"""Begins to write records of a partition, in their order. Behind a retryable error, none is written in that channel."""


class Intake:
    """Reads a topic as a member of a group. A record that `write` refuses for good goes to the topic of dead records.
    Create it on the event loop; `run` ends after `stop`."""

    def __init__(self, options: Options, topic: str, dead: str, group: str, write: Write) -> None:
        self._topic, self._dead, self._write = topic, dead, write
        self._consumer = Consumer(
            with_common(
                options,
                {
                    "group.id": group,
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "allow.auto.create.topics": False,
                    "auto.offset.reset": "earliest",
                    "partition.assignment.strategy": "cooperative-sticky",
                    "session.timeout.ms": SESSION_MS,
                    "max.poll.interval.ms": REBALANCE_MS,
                    "heartbeat.interval.ms": HEARTBEAT_MS,
                },
            )
        )
        # Without idempotence: a producer that has it can end for good. A dead record may be there twice.
        self._buried = Records(options, {"acks": "all", "max.in.flight": 1})
        self._thread = ThreadPoolExecutor(1, "kafka-intake")  # a consumer has one user at a time
        self._early: list[Message] = []  # records that came while the partitions were being paused
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._waits = False  # a line has told that records wait for the log
        self._away = False  # a line has told that Kafka is away
        self._refusals = Refusals()

    async def run(self) -> None:
        """Bring records in until `stop`, whatever happens."""
        try:
            await self._on_thread(partial(self._consumer.subscribe, [self._topic]))
            while not self._stopping.is_set():
                try:
                    records = await self._on_thread(self._fetch)
                except KafkaException as error:
                    self._tell_of(name_of(error), any_record=False)
                    await self._paused()
                else:
                    await self._bring_all(records)
        finally:
            await self._on_thread(self._consumer.close)  # leaves the group
            await self._buried.aclose()
            self._thread.shutdown(wait=False)
            self._ended.set()

    async def stop(self) -> None:
        """End behind the records that are being written, and leave the group."""
        self._stopping.set()
        await self._ended.wait()

    def _fetch(self) -> Sequence[Message]:
        early, self._early = self._early, []
        first = self._consumer.poll(0 if early else WAIT_S)
        found = [*early, *([] if first is None else [first, *self._consumer.consume(BATCH - 1, 0)])]
        errors = [error for record in found if (error := record.error()) is not None]
        self._tell_of(name_of(errors[0]) if errors else None, any_record=len(found) > len(errors))
        return [record for record in found if record.error() is None]

    async def _bring_all(self, records: Sequence[Message]) -> None:
        if not records:
            return
        partitions: dict[int, list[Incoming]] = {}
        for record in records:
            each = incoming(record)
            partitions.setdefault(each.partition, []).append(each)
        bringing = asyncio.gather(*map(self._bring, partitions.values()))
        paused = False
        try:
            while not (await asyncio.wait([bringing], timeout=BREATHE_S))[0]:
                paused = True
                await self._on_thread(self._breathe)
        finally:
            bringing.cancel()
        places = [place for place in await bringing if place is not None]
        await self._on_thread(partial(self._keep, places, paused=paused))

    async def _bring(self, records: Sequence[Incoming]) -> TopicPartition | None:
        """Write records of a partition; return the place behind them, or behind the last before `stop`."""
        done = 0
        while done < len(records) and not self._stopping.is_set():
            done += await self._write_first(records[done : done + UNDER_WAY])
        if not done:
            return None
        last = records[done - 1]
        return TopicPartition(last.topic, last.partition, last.offset + 1)

    async def _write_first(self, records: Sequence[Incoming]) -> int:
        """Write records, and bury those that can't be; return how many of the first are done."""
        outcomes = await asyncio.gather(*self._write(records), return_exceptions=True)
        for done, (record, outcome) in enumerate(zip(records, outcomes, strict=True)):
            if outcome is None:
                continue
            if isinstance(outcome, MaruError) and outcome.retryable:
                self._tell_of_wait(outcome)
                await self._paused()
                return done
            if not await self._bury(record, self._reason(record, outcome)):
                return done
        self._tell_of_wait(None)
        return len(records)

    def _reason(self, record: Incoming, error: BaseException) -> str:
        """Return why a record can't be a message."""
        if isinstance(error, MaruError):
            return error.message
        _log.error("kafka.record_failed", topic=record.topic, place=place_of(record), exc_info=error)
        return "a fault of the server"

    async def _bury(self, record: Incoming, reason: str) -> bool:
        """Put a record into the topic of dead records; return False if it is to be stopped before."""
        if self._refusals.add():
            _log.warning("kafka.record_dead", topic=record.topic, place=place_of(record), dead=self._refusals.count)
        headers = [
            ("reason", reason.encode(errors="backslashreplace")),
            ("topic", record.topic.encode()),
            ("partition", b"%d" % record.partition),
            ("offset", b"%d" % record.offset),
        ]
        key, value = record.key, record.value
        while True:
            try:
                await self._buried.send(self._dead, key, value, headers=headers)
            except (KafkaException, Unavailable) as error:
                if name_of(error) == TOO_LARGE and (key, value) != (None, None):
                    key = value = None  # the headers tell where it is
                    continue
                self._tell_of_wait(Unavailable(f"records can't go to {self._dead} ({name_of(error)})"))
                if await self._paused():
                    return False
            else:
                return True

    def _breathe(self) -> None:
        """Let Kafka know that this consumer lives, and give it nothing meanwhile."""
        with suppress(KafkaException):  # the partitions have changed: next time
            self._consumer.pause(self._consumer.assignment())
        early = self._consumer.poll(0)
        if early is not None:
            self._early.append(early)

    def _keep(self, places: Sequence[TopicPartition], *, paused: bool) -> None:
        """Keep the places in Kafka, and go on. If that fails, the records come again."""
        with suppress(KafkaException):
            if places:
                self._consumer.commit(offsets=list(places), asynchronous=False)
        if paused:
            with suppress(KafkaException):
                self._consumer.resume(self._consumer.assignment())

    async def _paused(self) -> bool:
        """Wait before the next try; return whether it is to be stopped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S):
                await self._stopping.wait()
        return self._stopping.is_set()

    async def _on_thread(self, act: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, act)

    def _tell_of(self, problem: str | None, *, any_record: bool) -> None:
        """Log that the topic can't be read, or is read again."""
        if problem is not None and not self._away:
            self._away = True
            _log.warning("kafka.away", topic=self._topic, problem=problem)
        elif problem is None and any_record and self._away:
            self._away = False
            _log.info("kafka.linked", topic=self._topic)

    def _tell_of_wait(self, error: MaruError | None) -> None:
        """Log that records wait for the log, or do no more."""
        if error is not None and not self._waits:
            _log.warning("kafka.ingest_waits", topic=self._topic, problem=error.message)
        elif error is None and self._waits:
            _log.info("kafka.ingest_goes_on", topic=self._topic)
        self._waits = error is not None

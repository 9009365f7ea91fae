"""The records of a topic from its ends on: read by a thread, which lets the event loop have the wanted ones alone.

Every replica reads every hint of all channels: whatever is not hosted here has to cost as little as it can.
"""

import asyncio
import threading
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from server.adapters.kafka.client import Options, name_of, with_common

IDLE_S = 0.5
"""The thread looks so often whether it is to end."""

PACE_S = 0.008
"""The thread rests so long behind each batch: a flood of hints wakes it 125 times a second, and a hint is late by no
more."""

FETCH_REST_MS = 10
"""Between a fetch that brought something from a partition, and the next from it."""

BATCH = 1_000
"""Records of a batch, at most."""

BATCHES = 8
"""Batches that the event loop has not taken yet, at most: further records wait in Kafka."""

QUEUE_KIB = 16 * 1024
"""Of records that Kafka's client has fetched, and the thread has not read."""

ALL_DOWN = "_ALL_BROKERS_DOWN"
"""What Kafka's client says then; it goes on trying."""

Heard = Sequence[tuple[bytes, bytes]]
"""Keys and values."""


class Reader:
    """Reads from `ends` on until `stop`. `take` gets the records with wanted keys, on the event loop, and is called
    without any if a place is waited for; `fail` is called once, with a reason, if it can't go on; `doubt` whenever no
    broker has a connection."""

    def __init__(
        self,
        options: Options,
        topic: str,
        ends: Mapping[int, int],
        wanted: Container[bytes],
        take: Callable[[Heard], None],
        fail: Callable[[str], None],
        doubt: Callable[[], None],
    ) -> None:
        self._options, self._topic, self._wanted = options, topic, wanted
        self._take, self._fail, self._doubt = take, fail, doubt
        self.places = dict(ends)
        """Behind the last record that was read, by partition."""
        self.waited_for = 0
        """How many wait for a place."""
        self._loop = asyncio.get_running_loop()
        self._room = threading.Semaphore(BATCHES)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kafka-hints", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    async def stop(self) -> None:
        """End; nothing is handed on afterwards."""
        self._ending.set()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        consumer = Consumer(
            with_common(
                self._options,
                {
                    "group.id": "maru.hints",  # is never joined: a group would share the hints out among replicas
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "allow.auto.create.topics": False,
                    "auto.offset.reset": "error",
                    "error_cb": self._noticed,
                    "queued.max.messages.kbytes": QUEUE_KIB,
                    # The next fetch waits until the thread has read, and a little longer: else each hint is a fetch.
                    "queued.min.messages": 1,
                    "fetch.queue.backoff.ms": FETCH_REST_MS,
                },
            )
        )
        try:
            consumer.assign([TopicPartition(self._topic, number, end) for number, end in self.places.items()])
            while not self._ending.is_set():
                first = consumer.poll(IDLE_S)
                if first is not None:
                    self._read([first, *consumer.consume(BATCH, 0)])
                    self._ending.wait(PACE_S)
        except KafkaException as error:
            self._on_loop(self._failed, name_of(error))
        finally:
            consumer.close()

    def _read(self, records: Sequence[Message]) -> None:
        heard, places, wanted = list[tuple[bytes, bytes]](), self.places, self._wanted
        for record in records:
            error = record.error()
            if error is not None:
                raise KafkaException(error)
            key = record.key()
            if key in wanted:
                # A record without a value is no hint: nobody of the cluster has sealed it.
                heard.append((key, record.value() or b""))  # type: ignore[arg-type]  # bytes: no deserializer is set
            places[record.partition()] = record.offset() + 1  # type: ignore[index, operator]  # a record has both
        if heard or self.waited_for:
            while not self._room.acquire(timeout=IDLE_S):
                if self._ending.is_set():
                    return
            self._on_loop(self._hand_on, heard)

    def _noticed(self, error: KafkaError) -> None:
        if name_of(error) == ALL_DOWN:
            self._on_loop(self._doubted)

    def _on_loop(self, act: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(act, *arguments)

    def _hand_on(self, heard: Heard) -> None:
        self._room.release()
        if not self._ending.is_set():
            self._take(heard)

    def _doubted(self) -> None:
        if not self._ending.is_set():
            self._doubt()

    def _failed(self, reason: str) -> None:
        if not self._ending.is_set():
            self._fail(reason)

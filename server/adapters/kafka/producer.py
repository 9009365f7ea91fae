"""Records on their way to Kafka. A single thread takes Kafka's reports, and hands them to the event loop in batches."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Producer

from server.adapters.kafka.client import Options, with_common
from server.domain.errors import Unavailable

MOST_UNDER_WAY = 10_000
"""Records without a report. Further ones are refused."""

POLL_S = 0.5
"""The thread looks so often whether it is to end."""

FLUSH_S = 2.0
"""A producer that is closed waits so long for the records under way."""

ANY_PARTITION = -1
"""Kafka's client chooses, by the key."""

Headers = Sequence[tuple[str, bytes]]

_Report = tuple["asyncio.Future[None]", KafkaError | None]


class Records:
    """Produces records; a record's future tells whether Kafka has it. Create it on the event loop; close it."""

    def __init__(self, options: Options, more: Options, most: int = MOST_UNDER_WAY) -> None:
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(with_common(options, more))
        self._most = most
        self._under_way = 0
        self._reports: list[_Report] = []  # of the thread, until it hands them over
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="kafka-reports", daemon=True)
        self._thread.start()

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int = ANY_PARTITION, headers: Headers = ()
    ) -> "asyncio.Future[None]":
        """Send a record behind those before it. The future raises `KafkaException`; giving it up sends the record all
        the same. Raises `Unavailable` if too many are under way."""
        if self._under_way >= self._most or self._ending.is_set():
            raise Unavailable("Kafka does not answer (too many records wait for it)")
        future: asyncio.Future[None] = self._loop.create_future()
        try:
            self._producer.produce(
                topic, value, key, partition, on_delivery=partial(self._report, future), headers=list(headers)
            )
        except BufferError as error:
            raise Unavailable("Kafka does not answer (too many records wait for it)") from error
        self._under_way += 1
        return future

    async def aclose(self) -> None:
        """Send what is under way, and end."""
        self._ending.set()
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._thread.join()
        self._producer.flush(FLUSH_S)
        self._hand_over()

    def _poll(self) -> None:
        while not self._ending.is_set():
            self._producer.poll(POLL_S)
            self._hand_over()

    def _report(self, future: "asyncio.Future[None]", error: KafkaError | None, _record: object) -> None:
        self._reports.append((future, error))

    def _hand_over(self) -> None:
        reports, self._reports = self._reports, []
        if reports:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._settle, reports)

    def _settle(self, reports: Sequence[_Report]) -> None:
        self._under_way -= len(reports)
        for future, error in reports:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(KafkaException(error))

"""Where the partitions of a topic end: asked by a client of its own, since Kafka answers the requests of a connection
in their order, and a fetch waits."""

import asyncio
from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # its own way to export

from server.adapters.kafka.client import Options, away, name_of, with_silence
from server.domain.errors import Unavailable

ANSWER_S = 1.5
"""Kafka's time to answer."""


_STALE = ("FENCED_LEADER_EPOCH", "UNKNOWN_LEADER_EPOCH", "NOT_LEADER_FOR_PARTITION")
"""Answers to a client that knows old leaders. It asks for the new ones only when it is a new client: librdkafka's
ListOffsets keeps the epochs of leaders that it has cached."""


class Ends:
    """Asks for a topic's partitions and their ends."""

    def __init__(self, options: Options, topic: str) -> None:
        self._topic = topic
        self._options = options
        self._admin = AdminClient(with_silence(options))

    async def partitions(self) -> int:
        """Return how many partitions the topic has. Raises `Unavailable`."""
        asked = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=ANSWER_S)
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await asyncio.wrap_future(asked[self._topic])
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise Unavailable(f"Kafka has no topic {self._topic}") from error
            raise away(error) from error
        except TimeoutError as error:
            raise Unavailable("Kafka does not answer (TimeoutError)") from error
        return len(found.partitions)

    async def of(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the offsets of the next records. Raises `Unavailable`."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # no annotation
        asked = self._admin.list_offsets(
            {TopicPartition(self._topic, number): latest for number in partitions}, request_timeout=ANSWER_S
        )
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await asyncio.gather(*map(asyncio.wrap_future, asked.values()))
        except KafkaException as error:
            if name_of(error) in _STALE:
                self._renew()
            raise away(error) from error
        except TimeoutError as error:
            raise Unavailable("Kafka does not answer (TimeoutError)") from error
        return {place.partition: end.offset for place, end in zip(asked, found, strict=True)}

    def _renew(self) -> None:
        """Go on with another client. The end of a client blocks."""
        old, self._admin = [self._admin], AdminClient(with_silence(self._options))
        asyncio.get_running_loop().run_in_executor(None, old.clear)

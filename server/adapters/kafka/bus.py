"""Topics of channels over a topic of Kafka: its key is the channel, and every replica reads all partitions.

Nobody joins a group, which would share the records out among the replicas. A reader that was cut off goes on where it
was: records are lost to it only if Kafka no longer has them.
"""

import asyncio
import zlib
from contextlib import suppress

import structlog
from confluent_kafka import KafkaException

from server.adapters.kafka.client import Options, away
from server.adapters.kafka.ends import Ends
from server.adapters.kafka.fence import Behind, Fence
from server.adapters.kafka.interests import Interests
from server.adapters.kafka.producer import Records
from server.adapters.kafka.reader import Heard, Reader
from server.adapters.topics.bus import Failed, TopicBus
from server.domain.channels import ChannelName
from server.domain.errors import Unavailable

PUBLISH_S = 1.8
"""A hint that Kafka has not taken within this time is `Unavailable`."""

PULSE_S = 5.0
"""The reader is compared with the ends of all partitions so often: a deaf reader is noticed, and replaced."""

RETRY_S = 0.5
"""Between two tries while Kafka is away."""

DEAF_PULSES = 4
"""A reader that is behind at so many pulses in a row, and reads nothing, is replaced."""

MAX_PAYLOAD = 256 * 1024
"""Bytes of a hint; brokers take 1 MB, unless they are told otherwise."""

_log = structlog.get_logger("maru.kafka")


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a channel: the same on each replica, whatever client it has."""
    return zlib.crc32(key) % partitions


class KafkaBus(TopicBus):
    """Hints over a topic that is there already. Create it on the event loop; close it by `aclose`, behind `run`."""

    def __init__(self, options: Options, topic: str, pulse_s: float = PULSE_S) -> None:
        self.on_message = _ignore
        self.on_restored = []
        self._options, self._topic, self._pulse_s = options, topic, pulse_s
        self._ends = Ends(options, topic)
        self._fence = Fence(self._ends)
        # A single request at a time keeps the order over retries, without the acks of all brokers that idempotence
        # needs: a hint that a broker takes with it may be lost.
        self._records = Records(
            options,
            {"acks": 1, "linger.ms": 0, "max.in.flight": 1, "message.timeout.ms": round(PUBLISH_S * 1000)},
        )
        self._partitions = 0  # not known before the first link
        self._interests = Interests()
        self._linked = asyncio.Event()
        self._losses = 0
        self._told_away = False  # a line has told of the present outage
        self._away = True  # no broker answers: what is published is refused at once
        self._sending: set[asyncio.Future[None]] = set()  # hints under way
        self._broken: str | None = None  # why the reader can't go on
        self._look = asyncio.Event()  # the reader is to be looked at now

    @property
    def max_payload(self) -> int:
        """Bytes of a hint."""
        return MAX_PAYLOAD

    @property
    def linked(self) -> asyncio.Event:
        """Set while the topic is read."""
        return self._linked

    @property
    def losses(self) -> int:
        """How often the link was lost."""
        return self._losses

    async def publish(self, channel: ChannelName, payload: bytes) -> None:
        """Publish behind everything before."""
        self._check()
        try:
            async with asyncio.timeout(PUBLISH_S):
                await self._send(channel, payload)
        except KafkaException as error:
            raise away(error) from error
        except TimeoutError as error:
            raise Unavailable("Kafka does not answer (TimeoutError)") from error

    def tell(self, channel: ChannelName, payload: bytes, failed: Failed) -> None:
        """Publish without waiting."""

        def ended(sent: "asyncio.Future[None]") -> None:
            if sent.cancelled() or sent.exception() is not None:
                failed()

        try:
            self._send(channel, payload).add_done_callback(ended)
        except Unavailable:
            failed()

    async def subscribe(self, channel: ChannelName) -> None:
        """Hear what is published behind this call. The fence tells that the topic is read at all, and nothing of the
        channel is heard from before."""
        self._check()
        key = channel.encode()
        with self._interests.asking(key):
            await self._fence.reached((self._partition_of(key),))

    async def unsubscribe(self, channel: ChannelName) -> None:
        """Stop hearing a channel, at once."""
        self._interests.drop(channel.encode())

    async def run(self) -> None:
        """Read until cancelled: whatever happens, the topic is read again."""
        try:
            while True:
                try:
                    await self._open()
                    await self._watch()
                except Unavailable as error:
                    self._lost(error)
                await self._close_reader()
                await asyncio.sleep(RETRY_S)
        finally:
            self._linked.clear()
            await self._close_reader()

    async def aclose(self) -> None:
        """Send the hints that are under way."""
        await self._records.aclose()

    def _send(self, channel: ChannelName, payload: bytes) -> "asyncio.Future[None]":
        key = channel.encode()
        sending = self._records.send(self._topic, key, payload, self._partition_of(key))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        return sending

    def _partition_of(self, key: bytes) -> int:
        if not self._partitions:
            raise Unavailable("Kafka does not answer (it has not been reached yet)")
        return partition_of(key, self._partitions)

    async def _open(self) -> None:
        """Read all partitions from their present ends on."""
        self._partitions = await self._ends.partitions()
        ends = await self._ends.of(range(self._partitions))
        self._broken = None
        self._fence.reader = Reader(
            self._options, self._topic, ends, self._interests.heard, self._take, self._break, self._doubt
        )
        self._fence.reader.start()
        self._restored()

    async def _watch(self) -> None:
        """Compare the reader with the ends again and again. Raises `Unavailable` if another is needed."""
        reader = self._fence.reader
        assert reader is not None
        behind, places = 0, dict(reader.places)
        while True:
            await self._rest()
            if self._broken is not None:
                raise Unavailable(f"Kafka's hints can't be read on ({self._broken})")
            try:
                await self._fence.reached(reader.places)
            except Behind as error:
                behind = behind + 1 if places == reader.places else 0
                places = dict(reader.places)
                if behind >= DEAF_PULSES:
                    raise
                self._lost(error)
            except Unavailable as error:  # the reader goes on by itself
                self._lost(error)
            else:
                behind, places = 0, dict(reader.places)
                self._restored()

    async def _rest(self) -> None:
        """Wait for the next look."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pulse_s if self._linked.is_set() else RETRY_S):
                await self._look.wait()
        self._look.clear()

    def _check(self) -> None:
        """Raise `Unavailable` while no broker answers."""
        if self._away:
            raise Unavailable("Kafka does not answer")

    def _break(self, reason: str) -> None:
        self._broken = reason
        self._look.set()

    def _doubt(self) -> None:
        """No broker has a connection: look whether that is over already."""
        self._lost(Unavailable("Kafka does not answer (no connection)"))
        self._look.set()

    async def _close_reader(self) -> None:
        reader, self._fence.reader = self._fence.reader, None
        if reader is not None:
            await reader.stop()

    def _take(self, heard: Heard) -> None:
        for key, value in heard:
            self.on_message(ChannelName(key.decode()), value)
        self._fence.moved()

    def _lost(self, error: Unavailable) -> None:
        self._away = not isinstance(error, Behind)
        for sending in [*self._sending] if self._away else ():
            if not sending.done():
                sending.set_exception(Unavailable(error.message))  # Kafka may take it all the same
        if self._linked.is_set():
            self._linked.clear()
            self._losses += 1
        elif self._told_away:
            return
        self._told_away = True
        _log.warning("kafka.away", topic=self._topic, problem=error.message)

    def _restored(self) -> None:
        self._away = False
        if self._linked.is_set():
            return
        self._linked.set()
        self._told_away = False
        _log.info("kafka.linked", topic=self._topic, partitions=self._partitions)
        for restored in self.on_restored:
            restored()


def _ignore(_channel: ChannelName, _payload: bytes) -> None:
    """Hear nothing."""

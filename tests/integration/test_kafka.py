"""Kafka beside the log: events out and messages in, through kills of the broker and of the server; and the bus of hints
when its topic is away."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from confluent_kafka import Message, Producer

from server.adapters.kafka.bus import KafkaBus
from server.domain.channels import ChannelName
from server.domain.errors import Unavailable
from tests.harness.backend import API_ENV, call
from tests.harness.kafka import HINTS_PARTITIONS, KafkaProcess, broker
from tests.harness.process import free_port
from tests.harness.server import ServerProcess
from tests.harness.waiting import polled, until

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

EVENTS = 1_000
CHANNELS = 8
PARTITIONS = 4
AT_ONCE = 32

ALL_S = 90.0
REFUSED_S = 2.0
LOADED_S = 0.5

_numbers = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KafkaProcess]:
    """A broker. A test that breaks it mends it."""
    async with broker(tmp_path_factory.mktemp("kafka")) as process:
        yield process


async def topic(kafka: KafkaProcess, partitions: int = PARTITIONS) -> str:
    """Make a topic of the test's own."""
    name = f"topic-{next(_numbers)}"
    await kafka.create(name, partitions)
    return name


def channel(number: int) -> str:
    """Return the channel of an event."""
    return f"room:{number % CHANNELS}"


async def send(server: ServerProcess, numbers: Sequence[int]) -> None:
    """Send messages by the API, each channel's in order."""

    async def send_in(name: str) -> None:
        for number in numbers:
            if channel(number) != name:
                continue
            body = {"author": {"id": "shop"}, "text": f"{number}"}
            status, _ = await call(server, "POST", f"/channels/{name}/messages", body)
            assert status == 200

    await asyncio.gather(*(send_in(f"room:{each}") for each in range(CHANNELS)))


def offsets(records: Sequence[Message]) -> Mapping[str, list[int]]:
    """Return the offsets of a topic's records by channel, in the order of the topic, without repeats."""
    found: dict[str, list[int]] = defaultdict(list)
    for record in records:
        key, headers = record.key(), dict(record.headers() or [])
        assert isinstance(key, bytes)
        offset = int(headers["offset"] or "")
        if not found[key.decode()] or offset > found[key.decode()][-1]:  # as consumers are told to
            found[key.decode()].append(offset)
    return found


async def test_events_go_out_through_kills(kafka: KafkaProcess, tmp_path: Path, figure: Any) -> None:
    """The broker is killed while events go out, then the server: each event is there, in order per channel, with its
    headers. Beside the events of requests that were under way, none is there twice."""
    name, third = await topic(kafka), EVENTS // 3
    env = {**API_ENV, "MARU_KAFKA_SERVERS": kafka.servers, "MARU_KAFKA_EGRESS_TOPIC": name}
    async with ServerProcess(tmp_path, env) as server:
        await send(server, range(third))
        kafka.kill()
        await send(server, range(third, 2 * third))
        await server.kill()
        await kafka.start()
        await server.start()
        await send(server, range(2 * third, EVENTS))
        records = await kafka.records(name, EVENTS, ALL_S)
        found = offsets(records)
        while sum(map(len, found.values())) < EVENTS:
            records = await kafka.records(name, len(records) + 1, ALL_S)
            found = offsets(records)
        assert await server.terminate() == 0
    each = EVENTS // CHANNELS
    assert found == {channel(number): list(range(1, each + 1)) for number in range(CHANNELS)}
    is_an_event(records[0])
    repeats = len(records) - EVENTS
    figure(f"{repeats} repeats of {EVENTS}")
    assert repeats <= 100 * CHANNELS


def is_an_event(record: Message) -> None:
    """Check the value and the headers of a record."""
    value, headers = record.value(), dict(record.headers() or [])
    assert isinstance(value, bytes)
    event = orjson.loads(value)
    assert event["event"] == "message:created"
    assert headers["type"] == b"message.created"
    assert headers["epoch"] == event["epoch"].encode()


def produce(kafka: KafkaProcess, name: str, values: Sequence[tuple[str | None, bytes]]) -> None:
    """Put records into a topic."""
    producer = Producer(
        {"bootstrap.servers": kafka.servers, "enable.idempotence": True, "message.max.bytes": 1_048_000}
    )
    for key, value in values:
        producer.produce(name, value, key)
        producer.poll(0)
    assert producer.flush(ALL_S) == 0


def record(number: int) -> tuple[str, bytes]:
    """Return the record of a message."""
    body = {"channel": channel(number), "author": {"id": "shop", "name": "Shop"}, "text": f"{number}"}
    return channel(number), orjson.dumps(body)


async def history(server: ServerProcess, name: str) -> list[str]:
    """Return the texts of a channel."""
    texts: list[str] = []
    after = 0
    while True:
        status, page = await call(server, "GET", f"/channels/{name}/messages?after={after}&limit=100")
        assert status == 200
        texts += [each["text"] for each in page["messages"]]
        if not page["more"]:
            return texts
        after = page["messages"][-1]["offset"]


async def test_messages_come_in_through_kills(kafka: KafkaProcess, tmp_path: Path) -> None:
    """The server is killed while records come in, then the broker: each record is one message, in the order of its
    channel. Records that can't be messages are in the topic of dead records, with the reason, and hold up nobody."""
    name = await topic(kafka)
    await kafka.create(f"{name}.dead")
    env = {**API_ENV, "MARU_KAFKA_SERVERS": kafka.servers, "MARU_KAFKA_INGEST_TOPIC": name}
    bad = [
        ("room:0", b"{"),
        ("room:0", b'{"channel":"room:0","text":"nobody wrote this"}'),
        ("room:1", record(0)[1]),
        ("room:0", b"x" * 1_040_000),  # more than the client takes for the topic of dead records
    ]
    async with ServerProcess(tmp_path, env) as server:
        half = EVENTS // 2
        produce(kafka, name, [*bad, *map(record, range(half))])

        async def some() -> bool:
            return len(await history(server, channel(0))) > 10

        await polled(some, ALL_S, lambda: "records come in")
        await server.kill()
        await server.start()
        await polled(some, ALL_S, lambda: "records come in")
        kafka.kill()
        await kafka.start()
        produce(kafka, name, [record(number) for number in range(half, EVENTS)])

        async def all_there() -> bool:
            return len(await history(server, channel(EVENTS - 1))) >= EVENTS // CHANNELS

        await polled(all_there, ALL_S, lambda: "all records are in", every_s=0.2)
        for each in range(CHANNELS):
            await polled_equal(server, channel(each), [f"{number}" for number in range(each, EVENTS, CHANNELS)])
        assert await server.terminate() == 0
    dead = await kafka.records(f"{name}.dead", len(bad))
    values = {(each.value(), dict(each.headers() or [])["reason"]) for each in dead}
    assert values == {
        (b"{", b"the record is not JSON"),
        (bad[1][1], b"author: Field required"),
        (bad[2][1], b"channel: another than the record's key"),
        (None, b"the record has 1040000 bytes, at most 65536"),
    }


async def polled_equal(server: ServerProcess, name: str, texts: list[str]) -> None:
    """Wait until a channel has as many messages, and compare them."""

    async def there() -> bool:
        return len(await history(server, name)) >= len(texts)

    await polled(there, ALL_S, lambda: f"{name} is whole", every_s=0.2)
    assert await history(server, name) == texts


async def test_a_missing_topic_refuses_the_start(kafka: KafkaProcess, tmp_path: Path) -> None:
    """A line names the variable and the topic."""
    hints = {"MARU_REDIS_URL": f"redis://127.0.0.1:{free_port()}", "MARU_BROADCAST": "kafka"}

    async def refused(variable: str, more: Mapping[str, str]) -> None:
        folder = tmp_path / variable
        folder.mkdir()
        server = ServerProcess(folder, {"MARU_KAFKA_SERVERS": kafka.servers, variable: "nowhere", **more})
        await server.launch()
        assert await server.ended() == 1
        assert f"{variable}: Kafka has no topic nowhere" in server.output

    await asyncio.gather(
        refused("MARU_KAFKA_EGRESS_TOPIC", {}),
        refused("MARU_KAFKA_INGEST_TOPIC", {}),
        refused("MARU_KAFKA_TOPIC", hints),
    )


@asynccontextmanager
async def listening(kafka: KafkaProcess, name: str) -> AsyncIterator[tuple[KafkaBus, list[bytes], asyncio.Event]]:
    """Run a bus; give what it hears."""
    bus, heard, changed = (
        KafkaBus({"bootstrap.servers": kafka.servers}, name, pulse_s=0.5),
        list[bytes](),
        asyncio.Event(),
    )

    def hear(_channel: ChannelName, _payload: bytes) -> None:
        heard.append(_payload)
        changed.set()

    bus.on_message = hear
    bus.on_restored.append(changed.set)
    running = asyncio.create_task(bus.run())
    try:
        await until(bus.linked.is_set, changed, ALL_S, lambda: "the bus is linked")
        yield bus, heard, changed
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await bus.aclose()


async def test_a_frozen_broker_refuses_hints_in_time(kafka: KafkaProcess) -> None:
    """A hint is refused within 2 s. Behind the freeze the bus links again by itself, and hears."""
    async with listening(kafka, await topic(kafka, HINTS_PARTITIONS)) as (bus, heard, changed):
        await bus.subscribe(ChannelName("room:1"))
        kafka.freeze()
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await bus.publish(ChannelName("room:1"), b"early")
        assert time.monotonic() - began < REFUSED_S + LOADED_S
        await polled(lambda: not bus.linked.is_set(), ALL_S, lambda: "the loss is noticed")
        kafka.thaw()
        await until(bus.linked.is_set, changed, ALL_S, lambda: "the bus is linked again")
        assert bus.losses == 1
        await bus.publish(ChannelName("room:1"), b"late")
        await until(lambda: b"late" in heard, changed, ALL_S, lambda: "a hint is heard")


async def test_a_topic_made_anew_is_read_from_its_ends(kafka: KafkaProcess) -> None:
    """The reader's places are beyond the ends of the new topic: hints may have been lost, and the bus says so."""
    name = await topic(kafka, HINTS_PARTITIONS)
    async with listening(kafka, name) as (bus, heard, changed):
        restored = list[int]()
        bus.on_restored.append(lambda: restored.append(1))
        await bus.subscribe(ChannelName("room:1"))
        for _ in range(5):
            await bus.publish(ChannelName("room:1"), b"before")
        await kafka.delete(name)
        await polled(lambda: not bus.linked.is_set(), ALL_S, lambda: "the loss is noticed")
        await kafka.create(name, HINTS_PARTITIONS)
        await until(lambda: bool(restored), changed, ALL_S, lambda: "hints may have been lost")

        async def hears() -> bool:
            try:
                await bus.publish(ChannelName("room:1"), b"behind")
            except Unavailable:
                return False
            return b"behind" in heard

        await polled(hears, ALL_S, lambda: "hints are heard", every_s=0.1)

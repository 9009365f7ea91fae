"""Records into a topic, through the log, and out into another, while the broker and the server are killed.

    python -m bench.kafka_egress --events 100000

Prints how long it took, and how many events came twice. Fails if any is lost, or not in the order of its channel.
"""

import argparse
import asyncio
import tempfile
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import orjson
from confluent_kafka import Producer

from tests.harness.kafka import KafkaProcess
from tests.harness.server import ServerProcess
from tests.harness.waiting import polled

CHANNELS = 1_000
PARTITIONS = 8
KILLS = 3
DEADLINE_S = 900.0


def produce(kafka: KafkaProcess, count: int) -> None:
    """Put the records in."""
    producer = Producer({"bootstrap.servers": kafka.servers, "enable.idempotence": True, "linger.ms": 20})
    for number in range(count):
        name = f"room:{number % CHANNELS}"
        body = {"channel": name, "author": {"id": "shop"}, "text": f"{number}"}
        producer.produce("in", orjson.dumps(body), name)
        if not number % 1_000:
            producer.poll(0.1)
    assert producer.flush(60.0) == 0


class Seen:
    """The events that have come out."""

    def __init__(self) -> None:
        self.texts: dict[str, list[int]] = defaultdict(list)
        self.offsets: dict[str, int] = defaultdict(int)
        self.records = self.events = 0

    def take(self, key: bytes, value: bytes) -> None:
        """Take a record as consumers are told to: repeats are behind the last offset."""
        self.records += 1
        event = orjson.loads(value)
        name, offset = key.decode(), event["offset"]
        if offset <= self.offsets[name]:
            return
        assert offset == self.offsets[name] + 1, f"{name}: {offset} behind {self.offsets[name]}"
        self.offsets[name] = offset
        self.texts[name].append(int(event["message"]["text"]))
        self.events += 1


async def read(kafka: KafkaProcess, seen: Seen, count: int) -> None:
    """Read what comes out, until it is all."""
    with kafka.consumer("out") as consumer:
        while seen.events < count:
            for record in await asyncio.to_thread(consumer.consume, 10_000, 0.2):
                key, value = record.key(), record.value()
                if record.error() is None and isinstance(key, bytes) and isinstance(value, bytes):
                    seen.take(key, value)


def came(seen: Seen, count: int) -> bool:
    """Say whether so many events have come out."""
    return seen.events >= count


async def main(count: int) -> None:
    """Run it."""
    with tempfile.TemporaryDirectory() as folder:
        async with KafkaProcess(Path(folder) / "kafka") as kafka:
            for name, partitions in (("in", PARTITIONS), ("in.dead", 1), ("out", PARTITIONS)):
                await kafka.create(name, partitions)
            await asyncio.to_thread(produce, kafka, count)
            env = {
                "MARU_KAFKA_SERVERS": kafka.servers,
                "MARU_KAFKA_INGEST_TOPIC": "in",
                "MARU_KAFKA_EGRESS_TOPIC": "out",
            }
            server_folder = Path(folder) / "server"
            server_folder.mkdir()
            seen, began = Seen(), time.perf_counter()
            async with ServerProcess(server_folder, env) as server, asyncio.timeout(DEADLINE_S):
                reading = asyncio.create_task(read(kafka, seen, count))
                for kill in range(1, KILLS + 1):
                    part = count * kill // (KILLS + 1)
                    await polled(partial(came, seen, part), DEADLINE_S, lambda: f"{seen.events} events came")
                    await server.kill()
                    kafka.kill()
                    await kafka.start()
                    await server.start()
                await reading
            took = time.perf_counter() - began
    wrong = [name for name, texts in seen.texts.items() if texts != sorted(set(texts))]
    assert not wrong, f"not in order, or twice: {wrong[:5]}"
    print(f"{seen.events:,} events in and out in {took:.0f} s, with {KILLS} kills of broker and server together:")
    print(f"none lost, in order per channel, {seen.records - seen.events:,} repeats")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    asyncio.run(main(parser.parse_args().events))

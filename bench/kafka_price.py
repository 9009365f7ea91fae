"""The price of hints over Kafka: the CPU of a replica that hosts none of the channels that others write to (P10).

    python -m bench.kafka_price

A process of its own reads the topic as a replica does, and hosts a single channel, which gets a hint in 200; another
publishes. Prints the reader's CPU, and the latency of the hints that it hosts.
"""

import asyncio
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from confluent_kafka import Producer

from server.adapters.kafka.bus import KafkaBus, partition_of
from server.domain.channels import ChannelName
from tests.harness.kafka import HINTS, HINTS_PARTITIONS, broker

RATES = (0, 500, 2_000)
CHANNELS = 200
BYTES = 430
WARM_S, MEASURED_S = 3.0, 20.0
TICK_S = 0.002


def publish(servers: str, rate: int, seconds: float) -> None:
    """Publish hints, evenly, each with the time."""
    producer = Producer({"bootstrap.servers": servers, "acks": "1", "linger.ms": 0, "max.in.flight": 1})
    began, sent = time.monotonic(), 0
    while (now := time.monotonic() - began) < seconds:
        for number in range(sent, int(now * rate)):
            key = b"room:%d" % (number % CHANNELS)
            producer.produce(HINTS, b"%f" % time.time() + b" " * BYTES, key, partition_of(key, HINTS_PARTITIONS))
        sent = max(sent, int(now * rate))
        producer.poll(TICK_S)
    producer.flush(5.0)


def read(servers: str, to: Connection) -> None:
    """Read as a replica does; send the share of a core, and the latencies of the hosted channel."""
    to.send(asyncio.run(_read(servers)))


async def _read(servers: str) -> tuple[float, list[float]]:
    bus, late = KafkaBus({"bootstrap.servers": servers}, HINTS), list[float]()

    def hear(_channel: ChannelName, _payload: bytes) -> None:
        late.append(time.time() - float(_payload.split(b" ")[0]))

    bus.on_message = hear
    running = asyncio.create_task(bus.run())
    await bus.linked.wait()
    await bus.subscribe(ChannelName("room:7"))
    await asyncio.sleep(WARM_S)
    late.clear()
    cpu, began = time.process_time(), time.monotonic()
    await asyncio.sleep(MEASURED_S)
    share = (time.process_time() - cpu) / (time.monotonic() - began)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await bus.aclose()
    return share, sorted(late)


async def main() -> None:
    """Measure each rate."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        async with broker(Path(folder)) as kafka:
            for rate in RATES:
                here, there = context.Pipe()
                reader = context.Process(target=read, args=(kafka.servers, there))
                writer = context.Process(target=publish, args=(kafka.servers, rate, WARM_S + MEASURED_S + 5.0))
                reader.start()
                if rate:
                    writer.start()
                share, late = await asyncio.to_thread(here.recv)
                reader.join()
                if rate:
                    writer.join()
                p50, p99 = (late[len(late) // 2], late[len(late) * 99 // 100]) if late else (0.0, 0.0)
                each = (
                    f", {share / rate * 1e6:.0f} us a hint; p50 {p50 * 1e3:.1f}, p99 {p99 * 1e3:.1f} ms" if rate else ""
                )
                print(f"{rate:>5} hints/s of others: {share:.1%} of a core{each}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())

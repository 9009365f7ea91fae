"""The Redis log and its pipeline while Redis dies, freezes, refuses; each test with a Redis of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.adapters.redis.link import connect
from server.adapters.redis.master import Master
from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.redis.pipeline import RUN, Pipeline
from server.adapters.redis.queue import BATCH_LIMIT, WAITING_LIMIT
from server.domain.appending import Appended
from server.domain.drafts import Revision
from server.domain.errors import MaruError, Overloaded, Unavailable
from tests.doubles.samples import HOUR_MS, NOW_MS, ROOM, new_message, some_id
from tests.harness.redis import RedisProcess

LIMIT_S = 2.0
"""Promise 9: an error comes within so long."""


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisProcess]:
    """A Redis that a test may do anything to."""
    async with RedisProcess(tmp_path / "redis") as process:
        yield process


@pytest.fixture
async def log(redis: RedisProcess) -> AsyncIterator[RedisMessageLog]:
    """A log over it that has been used."""
    async with RedisMessageLog(redis.url, max_events=100_000, max_age_ms=1_000 * HOUR_MS) as opened:
        await opened.append(new_message(0))
        yield opened


@pytest.fixture
async def pipeline(redis: RedisProcess) -> AsyncIterator[Pipeline]:
    """A pipeline over it."""
    made = Pipeline(connect(redis.url))
    yield made
    await made.aclose()


async def failing(call: Awaitable[Any]) -> MaruError:
    """The error of a call that must fail in time."""
    began = time.monotonic()
    with pytest.raises((Unavailable, Overloaded)) as failure:
        await call
    assert time.monotonic() - began < LIMIT_S
    return failure.value


async def test_killed_under_load_nothing_acked_is_lost(redis: RedisProcess, log: RedisMessageLog) -> None:
    """Each append is answered or `Unavailable`; sent again with the same keys, each is there once, none is missing."""
    drafts = [new_message(number, key=f"k{number}") for number in range(1, 3_001)]
    began = time.monotonic()
    sending = [asyncio.ensure_future(log.append(draft)) for draft in drafts]
    await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
    redis.kill()
    results = await asyncio.gather(*sending, return_exceptions=True)
    assert time.monotonic() - began < LIMIT_S
    acked = {result.event.offset: result.event for result in results if isinstance(result, Appended)}
    failed = [draft for draft, result in zip(drafts, results, strict=True) if isinstance(result, MaruError)]
    assert acked
    assert failed
    assert len(acked) + len(failed) == len(drafts)
    await redis.start()
    for start in range(0, len(failed), 500):
        await asyncio.gather(*(log.append(draft) for draft in failed[start : start + 500]))
    replay = await log.read(ROOM, 0, 10_000)
    events, head = replay.events, replay.head
    assert [event.offset for event in events] == list(range(1, 3_002))
    # The log can't prove the appends whose answers were lost, so the epoch may be another.
    assert all(events[offset - 1] == replace(event, epoch=head.epoch) for offset, event in acked.items())


async def test_frozen_is_an_outage_and_not_a_hang(redis: RedisProcess, log: RedisMessageLog) -> None:
    """Every call fails in time while Redis is stopped, also those that queue; when it goes on, the next call works."""
    redis.freeze()
    edit = Revision(ROOM, some_id(0), "new", None, True, NOW_MS)
    calls: list[Awaitable[Any]] = [
        *(log.append(new_message(number)) for number in range(1, 600)),
        log.append(edit),
        log.read(ROOM, 0, 10),
        log.message(ROOM, some_id(0)),
        log.history(ROOM, None, None, 10),
    ]
    errors = await asyncio.gather(*map(failing, calls))
    assert all(isinstance(error, Unavailable) for error in errors)
    await failing(log.append(new_message(1_000)))
    redis.thaw()
    async with asyncio.timeout(LIMIT_S):
        await log.append(new_message(1_001))
        await log.read(ROOM, 0, 10)


async def test_an_idle_restart_is_not_noticed(redis: RedisProcess, log: RedisMessageLog) -> None:
    """Where nothing was under way, the first call after a restart already works, though the scripts are forgotten."""
    redis.kill()
    await redis.start()
    assert (await log.append(new_message(1))).event.offset == 2


async def test_a_command_carries_the_id_of_the_run_that_gets_it(redis: RedisProcess, pipeline: Pipeline) -> None:
    """Also if the scripts are forgotten, and after a restart; the words beside it are sent as they are."""
    script = pipeline.script(b"return ARGV")

    async def carried() -> bytes:
        [first, run, last] = await pipeline.execute("EVALSHA", script, 0, "first", RUN, 3)
        assert (first, last) == (b"first", b"3")
        assert isinstance(run, bytes)
        assert run.decode() == (await redis.command("INFO", "server"))["run_id"][:10]
        return run

    first = await carried()
    await redis.command("SCRIPT", "FLUSH")
    assert await carried() == first
    redis.kill()
    await redis.start()
    assert await carried() != first


async def test_without_the_right_to_ask_the_run_is_unknown(
    redis: RedisProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user who may not ask for it loses nothing else, and a line tells the operator."""
    await redis.command("ACL", "SETUSER", "default", "-info", "-role", "-config")
    master = Master()
    pipelines = [Pipeline(connect(redis.url), master) for _ in range(2)]
    for pipeline in pipelines:
        assert await pipeline.execute("ECHO", RUN) == b"0" * 10
        await pipeline.aclose()
    assert capsys.readouterr().out.count("redis.run_unknown") == 1


async def test_a_redis_that_evicts_is_told_of_once(redis: RedisProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """By a line and in the metrics, at the next connection; also that it has been put right."""
    await redis.command("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    master = Master()
    pipelines = [Pipeline(connect(redis.url), master) for _ in range(3)]
    for pipeline in pipelines[:2]:
        await pipeline.execute("PING")
    told = master.evicts
    assert capsys.readouterr().out.count("redis.evicts") == 1
    await redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    await pipelines[2].execute("PING")
    assert (told, master.evicts) == (True, False)
    for pipeline in pipelines:
        await pipeline.aclose()


async def test_too_many_waiting_is_overloaded(redis: RedisProcess, pipeline: Pipeline) -> None:
    """Over the bound the caller is told at once, and nothing of it is sent; the others are answered or fail."""
    await pipeline.execute("PING")
    redis.freeze()
    waiting = [asyncio.create_task(pipeline.execute("INCR", "n")) for _ in range(WAITING_LIMIT + BATCH_LIMIT)]
    await asyncio.sleep(0)
    refused = [task for task in waiting if task.done()]
    assert all(isinstance(task.exception(), Overloaded) for task in refused)
    assert len(refused) == BATCH_LIMIT
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(result, Unavailable) for result in results) == WAITING_LIMIT
    redis.thaw()
    assert await pipeline.execute("INCR", "n") <= BATCH_LIMIT + 1


@pytest.mark.alone
@pytest.mark.alone  # a stall of 0.3 s would be an outage
async def test_who_gets_no_turn_is_not_sent(pipeline: Pipeline) -> None:
    """Where Redis is slow, those who would be answered too late are `Overloaded`, and were not executed."""
    slow = (
        "local from = redis.call('TIME') repeat local now = redis.call('TIME') "
        "until (now[1] - from[1]) * 1000000 + now[2] - from[2] >= 300 return redis.call('INCR', KEYS[1])"
    )
    # Batches of 0.08 s, which have 0.4 s: also on a busy machine, each that is sent in time is answered in time.
    calls = [pipeline.execute("EVAL", slow, 1, "n") for _ in range(WAITING_LIMIT - BATCH_LIMIT)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    answered = [result for result in results if isinstance(result, int)]
    assert answered == list(range(1, len(answered) + 1))
    assert {type(result) for result in results if not isinstance(result, int)} == {Overloaded}
    assert len(answered) < len(results)
    assert await pipeline.execute("INCR", "n") == len(answered) + 1


async def test_who_gives_up_leaves_the_others(redis: RedisProcess, pipeline: Pipeline) -> None:
    """A cancelled command is executed all the same, and each of the others gets its own answer."""
    calls = [asyncio.create_task(pipeline.execute("INCR", "n")) for _ in range(500)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert results[1::2] == list(range(2, 501, 2))


async def test_a_fault_of_ours_leaves_nobody_waiting(pipeline: Pipeline) -> None:
    """What can't be sent fails with its batch; the pipeline goes on."""
    unsendable: Any = object()
    results = await asyncio.gather(
        pipeline.execute("INCR", "n"),
        pipeline.execute("SET", unsendable),
        pipeline.execute("INCR", "n"),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [Unavailable] * 3
    assert await pipeline.execute("INCR", "n") == 1


async def test_closing_leaves_nobody_waiting(redis: RedisProcess) -> None:
    """Also while Redis is stopped: all that waits fails in time, and so does what comes later."""
    pipeline = Pipeline(connect(redis.url))
    await pipeline.execute("PING")
    redis.freeze()
    calls = [asyncio.create_task(failing(pipeline.execute("INCR", "n"))) for _ in range(2 * BATCH_LIMIT)]
    await asyncio.sleep(0)
    async with asyncio.timeout(LIMIT_S):
        await pipeline.aclose()
        await asyncio.gather(*calls)
    await failing(pipeline.execute("PING"))


async def test_a_read_only_replica_is_unavailable(redis: RedisProcess, log: RedisMessageLog) -> None:
    """A demoted master refuses appends; promoted again, it takes them, without a restart of ours."""
    await redis.command("REPLICAOF", "127.0.0.1", "1")
    assert "ReadOnlyError" in str(await failing(log.append(new_message(1))))
    await redis.command("REPLICAOF", "NO", "ONE")
    assert (await log.append(new_message(2))).event.offset == 2


async def test_without_memory_it_is_unavailable(redis: RedisProcess, log: RedisMessageLog) -> None:
    """Nothing of the append is written; with memory again the next one gets the offset."""
    await redis.command("CONFIG", "SET", "maxmemory", 1)
    assert "OutOfMemoryError" in str(await failing(log.append(new_message(1, key="k"))))
    await redis.command("CONFIG", "SET", "maxmemory", 0)
    appended = await log.append(new_message(2, key="k"))
    assert (appended.event.offset, appended.duplicate) == (2, False)
    assert len((await log.history(ROOM, None, None, 10)).messages) == 2


async def test_a_new_password_is_unavailable(redis: RedisProcess, log: RedisMessageLog) -> None:
    """A connection that is refused is an outage for clients, until the password is taken back."""
    await redis.command("CONFIG", "SET", "requirepass", "changed")
    redis.password = "changed"
    await redis.command("CLIENT", "KILL", "TYPE", "normal")
    assert isinstance(await failing(log.append(new_message(1))), Unavailable)
    await redis.command("CONFIG", "SET", "requirepass", "")
    assert (await log.append(new_message(2))).event.offset == 2


async def test_a_loading_redis_is_unavailable(tmp_path: Path) -> None:
    """While it reads its data it refuses; once it has, everything is there."""
    slowly = RedisProcess(tmp_path / "redis", ["--key-load-delay", "150"])
    async with slowly, RedisMessageLog(slowly.url, max_events=100_000, max_age_ms=1_000 * HOUR_MS) as log:
        await log.append(new_message(0))
        async with slowly.client() as client:
            for start in range(0, 20_000, 2_000):
                batch = client.pipeline(transaction=False)
                for number in range(start, start + 2_000):
                    batch.set(f"k{number}", "v")
                await batch.execute()
        slowly.kill()
        slowly.launch()
        refusals, appended = list[str](), None
        async with asyncio.timeout(20):
            while appended is None:
                try:
                    appended = await log.append(new_message(1))
                except Unavailable as refusal:
                    refusals.append(str(refusal))
        assert any("BusyLoadingError" in refusal for refusal in refusals), refusals
        assert appended.event.offset == 2

"""Ways to reach Redis: by password, by TLS, by Sentinel; and URLs that lead nowhere."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from server.adapters.redis import keys
from server.adapters.redis.bus import RedisBus
from server.adapters.redis.link import close, connect, startup_error
from server.adapters.redis.message_log import RedisMessageLog
from server.domain.errors import Unavailable
from server.domain.events import Event
from tests.doubles.samples import HOUR_MS, ROOM, new_message
from tests.harness.process import free_port
from tests.harness.redis import RedisProcess
from tests.harness.waiting import polled

PASSWORD = "p@ss/w:rd #1"
ENCODED = "p%40ss%2Fw%3Ard%20%231"

FAILOVER_S = 20.0


def log_at(url: str) -> RedisMessageLog:
    """A log there."""
    return RedisMessageLog(url, max_events=1_000, max_age_ms=1_000 * HOUR_MS)


async def works(url: str) -> None:
    """A log and a link there do their work, and Redis has nothing against the URL."""
    bus = RedisBus(url)
    listening = asyncio.create_task(bus.run())
    try:
        async with asyncio.timeout(5), log_at(url) as log:
            assert (await log.append(new_message(1))).event.offset == 1
            await bus.subscribe("topic")
            await bus.publish("topic", b"payload")
        assert await startup_error(url) is None
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await bus.aclose()


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[RedisProcess]:
    """A Redis with a password."""
    async with RedisProcess(tmp_path / "guarded", ["--requirepass", PASSWORD], password=PASSWORD) as process:
        yield process


async def test_a_password_is_percent_encoded(guarded: RedisProcess) -> None:
    """Whatever stands in it, and beside a user's name."""
    await works(f"redis://:{ENCODED}@127.0.0.1:{guarded.port}/0")
    await guarded.command("FLUSHALL")
    await works(f"redis://default:{ENCODED}@127.0.0.1:{guarded.port}/0")


async def test_a_wrong_password_is_told_in_one_sentence(guarded: RedisProcess) -> None:
    """Also none, or a database that is not there; without the password."""
    for login in ("", ":wrong@", "nobody:wrong@"):
        problem = await startup_error(f"redis://{login}127.0.0.1:{guarded.port}")
        assert problem == "Redis refuses the user or the password"
    assert await startup_error(f"redis://:{ENCODED}@127.0.0.1:{guarded.port}/99") == (
        "Redis refuses to serve: DB index is out of range"
    )
    async with log_at(f"redis://:wrong@127.0.0.1:{guarded.port}") as log:
        with pytest.raises(Unavailable) as failure:
            await log.append(new_message(1))
    assert "wrong" not in str(failure.value)


async def test_one_that_is_away_does_not_refuse() -> None:
    """It may come; neither a closed port nor a missing socket is a reason not to start."""
    assert await startup_error(f"redis://127.0.0.1:{free_port()}") is None
    assert await startup_error("unix:///nowhere/redis.sock") is None
    assert await startup_error(f"redis+sentinel://127.0.0.1:{free_port()}/0/mymaster") is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis",
        "localhost:6379",
        "http://:hunter2@127.0.0.1",
        "redis://:hunter2@127.0.0.1:port/0",
        "redis://:hun/ter2@127.0.0.1:6379/0",
        "redis://:hunter2@127.0.0.1:6379/0?socket_timeout=soon",
        "redis://:hunter2@127.0.0.1:6379/0?no_such_option=hunter2",
        "rediss://:hunter2@127.0.0.1:6379/0?no_such_option=1",
        "redis+sentinel://:hunter2@",
        "redis+sentinel://:hunter2@one:26379,two:port/0/mymaster",
        "redis+sentinel://:hunter2@one:26379/0/mymaster?no_such_option=1",
        "http+sentinel://:hunter2@one:26379/0/mymaster",
        "redis://:p@hunter2/w#rd@redis.internal",
        "redis://:p@hunter2/w@redis.internal:6379/0",
        "redis://:p@hunter2?w@redis.internal:6379/0",
        "redis://:p@hunter2?w=rd@redis.internal:6379/0",
        "redis://hunter2:6?x=y@redis.internal:6379/0",
        "redis://:6379/hunter2@redis.internal",
        "redis://:hunter2#@redis.internal",
        "redis+sentinel://:p@hunter2/w#rd@one:26379/0/mymaster",
        "redis+sentinel://:p@hunter2/w@one:26379/0/mymaster",
    ],
)
def test_a_bad_url_is_told_at_once(url: str) -> None:
    """What a URL looks like, and not what this one holds: there may be a password in it."""
    with pytest.raises(ValueError, match="not a Redis URL: expected") as failure:
        connect(url)
    assert "hunter2" not in str(failure.value)
    assert failure.value.__cause__ is None
    assert failure.value.__suppress_context__


async def test_a_url_does_not_undo_the_deadlines() -> None:
    """Options that would let a client wait for ever, or change what answers look like, count for nothing."""
    client = connect(
        "redis://127.0.0.1/0?socket_timeout=3600&socket_connect_timeout=3600&decode_responses=1&protocol=3"
    )
    options = client.connection_pool.connection_kwargs
    assert options["socket_timeout"] <= 1
    assert options["socket_connect_timeout"] <= 1
    assert (options["protocol"], options["decode_responses"]) == (2, False)
    await close(client)


# TLS


@pytest.fixture
async def encrypted(tmp_path: Path) -> AsyncIterator[tuple[RedisProcess, Path]]:
    """A Redis that speaks TLS alone, and the certificate that it made for itself."""
    key, certificate, port = tmp_path / "key.pem", tmp_path / "certificate.pem", free_port()
    made = ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost", "-days", "2", "-nodes"]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    named = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", "req", *kind, *made, *named], check=True, capture_output=True)
    options = ["--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    async with RedisProcess(tmp_path / "encrypted", [*options, "--tls-auth-clients", "no"]) as process:
        process.port = port
        yield process, certificate


async def test_tls_with_a_certificate_that_is_trusted(encrypted: tuple[RedisProcess, Path]) -> None:
    """`rediss://` with the file that the certificate is checked against."""
    redis, certificate = encrypted
    await works(f"rediss://127.0.0.1:{redis.port}/0?ssl_ca_certs={certificate}")


async def test_tls_with_one_that_is_not(encrypted: tuple[RedisProcess, Path], tmp_path: Path) -> None:
    """It is refused, and the reason said; so is a file that is not there."""
    redis, _ = encrypted
    problem = await startup_error(f"rediss://127.0.0.1:{redis.port}/0")
    assert problem is not None
    assert problem.startswith("Redis' certificate is not trusted: self")
    missing = await startup_error(f"rediss://127.0.0.1:{redis.port}/0?ssl_ca_certs={tmp_path}/missing.pem")
    assert missing == "a file that the URL names for TLS does not exist"


# Sentinel


async def test_sentinel_leads_to_the_new_master(tmp_path: Path) -> None:
    """When the master dies, log and link find the promoted replica, and go on with all that it had."""
    async with (
        RedisProcess(tmp_path / "master") as master,
        RedisProcess(tmp_path / "replica", ["--replicaof", "127.0.0.1", str(master.port)]) as replica,
        RedisProcess(tmp_path / "sentinel", sentinel_of=master.port) as sentinel,
    ):
        async with asyncio.timeout(FAILOVER_S):
            await replicated(master, sentinel)
            url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/0/mymaster"
            await works(url)
            bus = RedisBus(url)
            listening = asyncio.create_task(bus.run())
            async with log_at(url) as log:
                await bus.linked.wait()
                epoch = (await log.read(ROOM, 0, 0)).head.epoch
                assert await master.command("WAIT", 1, 5_000) == 1
                master.kill()
                event = await until_taken(log)
                assert (event.epoch, event.offset) == (epoch, 2)
                assert await replica.command("XLEN", keys.log(ROOM)) == 2
                await bus.linked.wait()
                await bus.subscribe("topic")
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await bus.aclose()


async def replicated(master: RedisProcess, sentinel: RedisProcess) -> None:
    """Wait until the sentinel knows a replica that is in step."""

    async def holds() -> bool:
        [replica] = await sentinel.command("SENTINEL", "REPLICAS", "mymaster") or [None]
        if not replica or b"ok" not in str(replica).encode():
            return False
        return bool((await master.command("INFO", "replication"))["connected_slaves"])

    await polled(holds, FAILOVER_S, lambda: "a replica is in step")


async def until_taken(log: RedisMessageLog) -> Event:
    """Send one message again and again until it is taken."""
    taken: list[Event] = []

    async def holds() -> bool:
        with suppress(Unavailable):
            taken.append((await log.append(new_message(2, key="k"))).event)
        return bool(taken)

    await polled(holds, FAILOVER_S, lambda: "a message is taken")
    return taken[0]

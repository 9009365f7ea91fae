"""Two real replicas whose way to their engine is TLS alone, with the certificates checked."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.clients.raw import RawSocket
from tests.harness.certificates import Certificate, make_certificate
from tests.harness.cluster import ready
from tests.harness.kafka import LOGIN, KafkaProcess
from tests.harness.nats import NatsProcess
from tests.harness.postgres import USER, PostgresProcess
from tests.harness.redis_cluster import ClusterProcess
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

DONE_S = 20.0

Env = Callable[[Path], dict[str, str]]
"""Returns the environment of a replica that trusts a CA."""


@asynccontextmanager
async def postgres(_folder: Path) -> AsyncIterator[tuple[Certificate, Env]]:
    """A PostgreSQL that serves the role by TLS alone."""
    process = PostgresProcess()
    made = make_certificate(process.folder)
    if USER is not None:
        shutil.chown(made.key, USER, USER)
    process.options |= {"ssl": "on", "ssl_cert_file": str(made.certificate), "ssl_key_file": str(made.key)}
    async with process:
        (process.folder / "data" / "pg_hba.conf").write_text(
            "hostssl all maru all trust\nhost all postgres all trust\n"
        )
        await process.query("SELECT pg_reload_conf()")
        yield (
            made,
            lambda ca: {"MARU_POSTGRES_URL": f"{process.url}?sslmode=verify-full&sslrootcert={ca}"},
        )


@asynccontextmanager
async def nats(folder: Path) -> AsyncIterator[tuple[Certificate, Env]]:
    """A NATS that serves by TLS alone."""
    made = make_certificate(folder)
    options = ("--tls", "--tlscert", str(made.certificate), "--tlskey", str(made.key))
    async with NatsProcess(folder / "nats", options) as process:
        yield made, lambda ca: {"MARU_NATS_URL": f"tls://127.0.0.1:{process.port}?ssl_ca_certs={ca}"}


@asynccontextmanager
async def redis_cluster(folder: Path) -> AsyncIterator[tuple[Certificate, Env]]:
    """A Redis Cluster, which serves by TLS, too, and names its nodes' ports for it."""
    made = make_certificate(folder)
    async with ClusterProcess(folder / "redis", replicas=False, certificate=made) as process:
        yield made, lambda ca: {"MARU_REDIS_URL": f"{process.secure_url}?ssl_ca_certs={ca}"}


@asynccontextmanager
async def kafka(folder: Path) -> AsyncIterator[tuple[Certificate, Env]]:
    """A Kafka that serves by TLS and a login, beside a PostgreSQL."""
    made = make_certificate(folder)
    async with PostgresProcess() as store, KafkaProcess(folder / "kafka", made) as process:
        await process.create_hints()
        user, password = LOGIN
        env = {
            "MARU_POSTGRES_URL": store.url,
            "MARU_BROADCAST": "kafka",
            "MARU_KAFKA_SERVERS": process.secure,
            "MARU_KAFKA_USER": user,
            "MARU_KAFKA_PASSWORD": password,
        }
        yield made, lambda ca: {**env, "MARU_KAFKA_CA": str(ca)}


Open = Callable[[Path], AbstractAsyncContextManager[tuple[Certificate, Env]]]
OPENED: dict[str, Open] = {"postgres": postgres, "nats": nats, "redis-cluster": redis_cluster, "kafka": kafka}


async def done(client: RawSocket, command: str, **fields: str) -> None:
    """Ask, and repeat what is `unavailable`, as clients do: on a busy machine a store may be slow for a moment."""
    async with asyncio.timeout(DONE_S):
        while True:
            answer = await client.ask(command, {"channel": "room:tls", **fields})
            if answer["ok"]:
                return
            assert answer["error"]["code"] == "unavailable"


@pytest.mark.parametrize("name", OPENED)
async def test_an_engine_by_tls(tmp_path: Path, name: str) -> None:
    """Messages go from one replica to the other; a replica that trusts another CA has a line that says so, and does not
    serve."""
    other = tmp_path / "other"
    other.mkdir()
    async with AsyncExitStack() as stack:
        made, env = await stack.enter_async_context(OPENED[name](tmp_path))
        replicas = []
        for number in range(2):
            folder = tmp_path / str(number)
            folder.mkdir()
            replicas.append(await stack.enter_async_context(ServerProcess(folder, env(made.ca))))
            await ready(replicas[-1])
        clients = [await RawSocket.chat(replica.port, token("anna")) for replica in replicas]
        for client in clients:
            await done(client, "channel:join")
        await done(clients[0], "message:send", text="hi", key="1")
        assert (await clients[1].event("message:created"))["message"]["text"] == "hi"
        for client in clients:
            await client.leave()
        doubting = ServerProcess(other, env(make_certificate(other).ca))
        stack.push_async_exit(doubting)
        await doubting.launch()
        async with asyncio.timeout(DONE_S):
            assert await doubting.ended() != os.EX_OK
        assert "certificate" in doubting.output

"""What waits of all clients, to be written and to be handled, has one bound; over it those with the most go."""

import pytest

from server.domain.outcomes import CloseReason
from server.gateway.websocket import memory
from tests.clients.frames import masked
from tests.doubles.virtual_time import turns
from tests.doubles.wired import Wired, wired

LIMIT = 1 << 20


def causes(scene: Wired) -> list[CloseReason | None]:
    """Why each client is gone."""
    return [client.connection.cause for client in scene.clients]


def packets(size: int, count: int = 1) -> bytes:
    """Packets that wait for a client that does not read."""
    return masked("4" + "x" * size) * count


def stall(scene: Wired) -> None:
    """Let the clients read nothing, so that their packets wait."""
    for client in scene.clients:
        while not client.connection.writer.congested:
            client.connection.writer.send_now(b"x" * 20_000)


async def test_packets_that_wait_are_counted_until_they_are_handled() -> None:
    """Small ones are not: most clients have no others."""
    async with wired(1) as scene:
        client, traffic = scene.clients[0], scene.traffic
        stall(scene)
        client.connection.data_received(packets(500))
        assert traffic.inbound_queued_bytes == 0
        client.connection.data_received(packets(20_000))
        assert 20_000 < traffic.inbound_queued_bytes < 21_000
        while client.connection.packets.busy:
            await client.take()
        assert traffic.inbound_queued_bytes == 0


async def test_a_message_that_is_not_complete_is_counted() -> None:
    """A part of a frame, and fragments; nothing is left when the message is there, or the client is gone."""
    async with wired(2) as scene:
        traffic = scene.traffic
        for client, message in zip(
            scene.clients, (packets(50_000), masked("4" + "x" * 40_000, final=False) + masked("x", 0)), strict=True
        ):
            client.connection.data_received(message[:40_000])
            assert traffic.inbound_queued_bytes == 40_000
            client.connection.data_received(message[40_000:])
            await turns(9)
            assert traffic.inbound_queued_bytes == 0
        scene.clients[0].connection.data_received(packets(60_000)[:50_000])
        assert traffic.inbound_queued_bytes == 50_000
        scene.clients[0].connection.abort(CloseReason.PING_TIMEOUT, "gone")
        assert traffic.inbound_queued_bytes == 0


async def test_over_the_bound_the_fattest_go() -> None:
    """Whether it waits to be written or to be handled; those with little stay."""
    async with wired(6, limit=LIMIT) as scene:
        stall(scene)
        for client in scene.clients[:3]:
            client.connection.data_received(packets(60_000, 4))
        scene.clients[3].connection.data_received(packets(60_000))
        await turns(9)
        assert scene.traffic.inbound_queued_bytes > LIMIT * 0.7
        assert causes(scene) == [None] * 6
        scene.clients[4].connection.data_received(packets(60_000, 3))
        await turns(9)
        gone = causes(scene)
        assert gone[:3].count(CloseReason.MEMORY_CAP) == 1
        assert gone[3:] == [None] * 3
        together = scene.traffic.inbound_queued_bytes + scene.traffic.outbound_queued_bytes
        assert LIMIT * 0.5 < together <= LIMIT * 0.9


async def test_a_client_that_does_not_read_has_one_read_waiting_at_most() -> None:
    """Its packets are not even decoded, beyond the first 64 KiB; and nothing more is read of it."""
    async with wired(1) as scene:
        stall(scene)
        connection = scene.clients[0].connection
        read = packets(60_000, 4)
        connection.data_received(read)
        await turns(9)
        assert not scene.clients[0].connection.has_room()
        assert len(read) * 0.95 < scene.traffic.inbound_queued_bytes < len(read) * 1.05


async def test_while_much_waits_those_that_stand_still_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether they take nothing, or send messages that are never complete; who takes what comes stays."""
    async with wired(4, limit=LIMIT) as scene:
        reader, deaf, never_done, _ = scene.clients
        for client in (reader, deaf):
            while client.connection.writer.unsent < LIMIT * 0.3:
                client.connection.writer.send_now(b"x" * 20_000)
        never_done.connection.data_received(packets(60_000)[:50_000])
        assert scene.outbox.memory.look() > 0.6
        assert scene.outbox.memory.look() > 0.6
        assert causes(scene) == [None] * 4
        monkeypatch.setattr(memory, "STALLED_S", 0.0)
        before = reader.connection.writer.unsent
        while before - reader.connection.writer.unsent < memory.STALLED_STEP:
            await reader.take()
        assert scene.outbox.memory.look() < 0.4
        assert causes(scene) == [None, CloseReason.MEMORY_CAP, CloseReason.MEMORY_CAP, None]


async def test_while_little_waits_nobody_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow line is no fault."""
    monkeypatch.setattr(memory, "STALLED_S", 0.0)
    async with wired(1, limit=LIMIT) as scene:
        writer = scene.clients[0].connection.writer
        while writer.unsent < LIMIT * (memory.STALLED_FROM - 0.05):
            writer.send_now(b"x" * 20_000)
        for _ in range(3):
            assert scene.outbox.memory.look() < memory.STALLED_FROM
        assert causes(scene) == [None]
